"""``mmcv._ext`` for installations of mmcv without compiled ops."""

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

from ..errors import UserError


def supply_mmcv_ops() -> None:
    """Let mmdet and mmpretrain import beside mmcv-lite.

    Bug: mmcv-lite 2.1.0 ships the Python side of every op but not the compiled module
    ``mmcv._ext`` behind them; mmdet 3.3.0 imports them all, so ``import mmdet.models`` fails.

    The stand-in is found only after Python's own finders have found nothing, so that the compiled
    module of a full mmcv is used wherever there is one.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


class _StandInFinder(MetaPathFinder, Loader):
    """Finds and loads the stand-in for ``mmcv._ext``; the ops are in :mod:`.mmcv_ops`."""

    def find_spec(self, fullname, path=None, target=None):
        return ModuleSpec(fullname, self) if fullname == 'mmcv._ext' else None

    def exec_module(self, module):
        # Only here: it imports torchvision, which takes seconds.
        from . import mmcv_ops

        for name in mmcv_ops.__all__:
            setattr(module, name, getattr(mmcv_ops, name))
        module.__getattr__ = _missing_op


def _missing_op(name: str) -> Callable:
    """An op of the compiled mmcv that raises when it is called.

    mmcv asks for every op by name when its Python side is imported, hence not before the call.
    """
    if name.startswith('__'):
        raise AttributeError(name)

    def op(*args, **kwargs):
        raise UserError(
            f"mmcv-lite has no compiled op '{name}': replace it by the full mmcv 2.1.0 "
            '(`pip uninstall mmcv-lite`, then `pip install mmcv==2.1.0`) to use this model.')

    return op


_FINDER = _StandInFinder()
