"""EfficientDet under the names of MMDetection's own project, EfficientNet-Lite, and k-NN."""

from .bifpn import BiFPN
from .efficientdet import EfficientDet
from .efficientnet_lite import EfficientNetLite
from .huber_loss import HuberLoss
from .knn import KNNClassifier, KNNHead
from .layers import Conv2dSamePadding
from .sepbn_head import EfficientDetSepBNHead

__all__ = [
    'BiFPN', 'Conv2dSamePadding', 'EfficientDet', 'EfficientDetSepBNHead', 'EfficientNetLite',
    'HuberLoss', 'KNNClassifier', 'KNNHead',
]
