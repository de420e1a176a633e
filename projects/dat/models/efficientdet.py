"""The detector itself: EfficientNet, BiFPN and a head with separate batch norms."""

from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from torch import Tensor

from projects.dat.runtime.errors import ArgumentError

# P7, the top of the pyramid, halves the image seven times.
STRIDE = 128


@MODELS.register_module()
class EfficientDet(SingleStageDetector):
    """EfficientDet (Tan, Pang and Le, CVPR 2020, arXiv:1911.09070).

    Takes the arguments of ``SingleStageDetector``.
    """

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Normalized images (N, 3, H, W) to P3 ... P7.

        Raises:
            ArgumentError: If H or W is not divisible by 128.
        """
        height, width = batch_inputs.shape[-2:]
        if height % STRIDE or width % STRIDE:
            padded = tuple(-(-side // STRIDE) * STRIDE for side in (height, width))
            raise ArgumentError(
                f'EfficientDet expects a height and width divisible by {STRIDE}, found '
                f'{height} x {width}: set pad_size_divisor={STRIDE} in the data_preprocessor, '
                f'which pads to {padded[0]} x {padded[1]}, or give the Resize and RandomCrop steps '
                'of the pipelines such a size.')
        return super().extract_feat(batch_inputs)
