"""Between a model's normalized inputs and the 0..1 RGB images of the attacks."""

import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor


class PixelSpace:
    """Converts a data preprocessor's output to 0..1 RGB and back, each in one pass over the batch.

    Args:
        preprocessor (ImgDataPreprocessor): Whose mean and std (of the 0..255 range) are inverted.
        rgb (bool): Whether its output is RGB; BGR otherwise.
    """

    def __init__(self, preprocessor: ImgDataPreprocessor, rgb: bool):
        device = preprocessor.device
        normalize = preprocessor._enable_normalize
        mean = preprocessor.mean if normalize else torch.zeros(1, device=device)
        std = preprocessor.std if normalize else torch.ones(1, device=device)
        self.mean, self.std = mean / 255, std / 255
        self.shift, self.scale = -mean / std, 255 / std
        self.rgb = rgb

    def to_images(self, inputs: Tensor) -> Tensor:
        """Normalized (N, 3, H, W) -> RGB, 0..1 (clamped: resizing can overshoot by a rounding)."""
        images = torch.addcmul(self.mean, inputs, self.std).clamp_(0, 1)
        return images if self.rgb else images.flip(1)

    def to_inputs(self, images: Tensor) -> Tensor:
        """RGB (N, 3, H, W) in 0..1 -> normalized; differentiable."""
        images = images if self.rgb else images.flip(1)
        return torch.addcmul(self.shift, images, self.scale)


def valid_area(inputs: Tensor, data_samples: list) -> Tensor:
    """BoolTensor (N, 1, H, W), False on the padding beyond each sample's ``img_shape``."""
    height, width = inputs.shape[-2:]
    shapes = torch.tensor([sample.img_shape[:2] for sample in data_samples])
    shapes = shapes.to(inputs.device, non_blocking=True)
    rows = torch.arange(height, device=inputs.device) < shapes[:, :1]
    columns = torch.arange(width, device=inputs.device) < shapes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
