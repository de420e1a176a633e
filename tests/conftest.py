"""Makes ``projects.dat`` importable, whatever other ``projects`` package is installed."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401  (it has to come before anything imports mmdet)

# On maps this small a second thread costs more waiting than it saves work.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_default_scope():
    """A Runner leaves its scope behind, in which the names of the next test may be unknown."""
    yield
    DefaultScope._instance_dict.clear()
