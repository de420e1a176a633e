"""The image corruptions of COCO-C."""

from .corrupt import corrupt
from .names import (
    BENCHMARK,
    CHANNEL_ORDERS,
    CORRUPTIONS,
    GROUPS,
    HOLDOUT,
    SETS,
    SEVERITIES,
    expand,
)

__all__ = [
    'BENCHMARK',
    'CHANNEL_ORDERS',
    'CORRUPTIONS',
    'GROUPS',
    'HOLDOUT',
    'SETS',
    'SEVERITIES',
    'corrupt',
    'expand',
]
