"""Makes ``projects.dat`` importable, whatever other ``projects`` package is installed."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401  (it has to come before anything imports mmdet)

# On maps this small a second thread costs more waiting than it saves work.
torch.set_num_threads(1)
