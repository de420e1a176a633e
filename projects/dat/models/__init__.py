"""EfficientDet for MMDetection, under the names of MMDetection's own EfficientDet project."""

from .bifpn import BiFPN
from .efficientdet import EfficientDet
from .huber_loss import HuberLoss
from .layers import Conv2dSamePadding
from .sepbn_head import EfficientDetSepBNHead

__all__ = ['BiFPN', 'Conv2dSamePadding', 'EfficientDet', 'EfficientDetSepBNHead', 'HuberLoss']
