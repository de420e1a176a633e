"""LPIPS, the perceptual distance that tokenizers are trained with and judged by."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# VGG16: numbers of convolutions and their channels between two max-poolings. LPIPS compares what
# leaves each group.
GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Mean and deviation of ImageNet in the -1..1 range, as rounded by the reference implementation.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1, on VGG16.

    Source: Zhang et al., 2018 (arXiv:1801.03924), equation 1; constants of
    https://github.com/richzhang/PerceptualSimilarity. Its weights are buffers that no state dict
    contains: a training that uses it neither trains nor saves them.

    Args:
        weights: 'conv0.weight' (C_out, C_in, 3, 3) and 'conv0.bias' to 'conv12.*' of VGG16, and
            'head0' to 'head4' (C,), as :func:`load_lpips` reads them.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        for name, tensor in weights.items():
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name.replace('.', '_'), tensor, persistent=False)
        self.register_buffer('shift', torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('scale', torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance of each pair: two (N, 3, H, W) in 0..1, sides at least 16 -> (N,), 0 or more.

        Differentiable in the first argument only.
        """
        with torch.no_grad():
            targets = self._features(others)
        distances = 0
        for i, (a, b) in enumerate(zip(self._features(images), targets, strict=True)):
            difference = (a - b).square()
            head = getattr(self, f'head{i}').view(1, -1, 1, 1)
            distances = distances + (difference * head).sum(1).mean((1, 2))
        return distances

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit vectors, fp32, behind each group."""
        h = (images * 2 - 1 - self.shift) / self.scale
        features, conv = [], 0
        for depth, _ in GROUPS:
            if features:
                h = F.max_pool2d(h, 2)
            for _ in range(depth):
                weight = getattr(self, f'conv{conv}_weight')
                bias = getattr(self, f'conv{conv}_bias')
                h = F.relu(F.conv2d(h, weight, bias, padding=1))
                conv += 1
            unit = h.float()
            features.append(unit / (unit.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features
