"""Registers everything with MMEngine's registries; configs name it in ``custom_imports``."""

from projects.dat.runtime import compat
from projects.dat.runtime.errors import install_excepthook

# Before the first import of mmdet, which fails where mmcv's compiled operators are missing.
compat.install()
install_excepthook()

import projects.dat.corruptions.transform  # noqa: E402
import projects.dat.models  # noqa: E402
import projects.dat.runtime.load_image  # noqa: E402
import projects.dat.training  # noqa: E402, F401
