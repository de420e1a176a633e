"""Robustness results and their reports."""

from .comparison_report import write_report
from .results import RobustnessResult

__all__ = ['RobustnessResult', 'write_report']
