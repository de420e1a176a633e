"""Where the stand-in for mmcv's compiled module serves, and where it keeps out of the way."""

import importlib
import inspect
import sys

import mmcv
import mmcv.ops
import pytest
import torch
from mmengine.utils.dl_utils import mmcv_full_available

from projects.dat.runtime import compat
from projects.dat.runtime.errors import UserError


def test_missing_op_raises_when_it_is_called():
    layer = mmcv.ops.DeformConv2d(1, 1, 1)
    with pytest.raises(UserError) as error:
        layer(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4))
    assert "'deform_conv_forward'" in str(error.value)
    assert 'mmcv==2.1.0' in str(error.value)
    assert '\n' not in str(error.value)


def test_stand_in_is_an_ordinary_module():
    extension = importlib.import_module('mmcv._ext')
    assert extension is mmcv._ext
    assert importlib.util.find_spec('mmcv._ext') is extension.__spec__
    assert inspect.ismodule(inspect.unwrap(extension))
    assert not hasattr(extension, '__path__')
    assert mmcv_full_available()  # mmengine asks before it builds an optimizer


def test_full_mmcv_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(mmcv, '_ext', mmcv._ext)
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path), *mmcv.__path__])
    (tmp_path / '_ext.py').write_text('nms = "compiled"')
    importlib.invalidate_caches()
    compat.install()
    assert importlib.import_module('mmcv._ext').nms == 'compiled'
    assert not hasattr(mmcv._ext, 'softnms')


def test_install_twice_changes_nothing():
    before = list(sys.meta_path), set(torch.serialization.get_safe_globals())
    compat.install()
    compat.install()
    assert (sys.meta_path, set(torch.serialization.get_safe_globals())) == before
