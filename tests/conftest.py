"""Makes ``projects.dat`` importable, whatever other ``projects`` package is installed."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat  # noqa: E402, F401  (it has to come before anything imports mmdet)

# The suite's time budget is stated for two cores; more threads would also change float sums.
torch.set_num_threads(2)
