"""Discrete Adversarial Training for MMDetection; importing it registers everything."""

from . import compat

# Before the first import of mmdet, which fails where mmcv's compiled operators are missing.
compat.install()

from . import attacks, detectors, tokenizer, training  # noqa: E402
from .corruptions.transform import CorruptImage  # noqa: E402

__all__ = ['CorruptImage', 'attacks', 'compat', 'detectors', 'tokenizer', 'training']
