"""Results of evaluations and their reports."""

from .comparison import Comparison
from .report import write_report
from .results import Result

__all__ = ['Comparison', 'Result', 'write_report']
