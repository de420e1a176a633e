"""The adversarial part of a VQGAN's training."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Sequential):
    """Judges patches: images (N, 3, H, W) in 0..1 -> logits (N, 1, h, w), larger where real.

    Source: Isola et al., 2017 (arXiv:1611.07004), section 6.1.2: 4 x 4 convolutions, of which
    ``depth`` halve the resolution. Group norm takes the place of batch norm (ours), so that an
    image's logits do not depend on its batch, nor on the number of GPUs.

    Args:
        channels (int): Of the first layer, a multiple of 8; they double up to 8 times as many.
            Defaults to 64.
        depth (int): Number of halvings; 3 judges patches of 70 x 70 pixels. Defaults to 3.
    """

    def __init__(self, channels: int = 64, depth: int = 3):
        layers = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = channels
        for i in range(1, depth + 1):
            wider = channels * min(2**i, 8)
            stride = 2 if i < depth else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(8, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        super().__init__(*layers, nn.Conv2d(width, 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * 2 - 1)


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Discriminator's loss, 0-d: mean of max(0, 1 - real) and max(0, 1 + fake), halved.

    Source: Lim and Ye, 2017 (arXiv:1705.02894), equation 7, halved as in VQGAN's code.
    """
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor) -> Tensor:
    """What the adversarial gradient is multiplied with, to weigh as much as the reconstruction's.

    Source: Esser et al., 2021 (arXiv:2012.09841), equation 7, with the bounds of its code.

    Args:
        reconstruction: Gradient of the reconstruction loss with respect to the decoder's last
            layer.
        adversarial: Gradient of the generator's adversarial loss there.

    Returns:
        A 0-d tensor in 0..1e4, without a graph.
    """
    return (reconstruction.norm() / (adversarial.norm() + 1e-4)).clamp(0, 1e4).detach()
