"""A VQGAN small enough not to dominate the cost of discrete adversarial training."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from .vqgan import Codebook


class _Block(nn.Module):
    """Pre-activation residual block of constant width, (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(channels) for _ in range(depth)))


def _sequence(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


class FastVQGAN(nn.Module):
    """f8 VQGAN that works at a quarter and an eighth of the resolution only.

    The image enters by a 4 x 4 pixel-unshuffle and leaves by pixel-shuffles, so that no wide
    convolution runs at full resolution, where a published VQGAN spends most of its 699 GFLOP (256 x
    256); there is no attention. Ours.

    Args:
        width (int): Channels at a quarter of the resolution, a multiple of 8; an eighth has twice
            as many, a half (a single convolution of the decoder) half as many. Defaults to 64.
        encoder_depth (tuple): Residual blocks at a quarter and at an eighth. Defaults to (1, 2).
        decoder_depth (tuple): Residual blocks at an eighth and at a quarter. Defaults to (3, 1).
        num_tokens (int): Number of tokens. Defaults to 8192.
        embed_dim (int): Dimension of a codebook entry. Defaults to 4.
    """

    downscale = 8

    def __init__(
        self, *, width=64, encoder_depth=(1, 2), decoder_depth=(3, 1), num_tokens=8192, embed_dim=4
    ):
        super().__init__()
        deep = 2 * width
        self.encoder = _sequence(
            unshuffle=nn.PixelUnshuffle(4),
            stem=nn.Conv2d(48, width, 3, padding=1),
            quarter=_blocks(width, encoder_depth[0]),
            down=nn.Conv2d(width, deep, 2, stride=2),
            eighth=_blocks(deep, encoder_depth[1]),
            out=nn.Conv2d(deep, embed_dim, 1),
        )
        self.decoder = _sequence(
            stem=nn.Conv2d(embed_dim, deep, 3, padding=1),
            eighth=_blocks(deep, decoder_depth[0]),
            up=nn.Conv2d(deep, 4 * width, 1),
            shuffle=nn.PixelShuffle(2),
            quarter=_blocks(width, decoder_depth[1]),
            act=nn.SiLU(),
            up2=nn.Conv2d(width, 2 * width, 1),
            shuffle2=nn.PixelShuffle(2),
            act2=nn.SiLU(),
            # At half resolution: blends what a pixel-shuffle by 4 would leave as seams between 4 x
            # 4 tiles.
            out=nn.Conv2d(width // 2, 12, 3, padding=1),
            shuffle3=nn.PixelShuffle(2),
        )
        self.quantize = Codebook(num_tokens, embed_dim)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last convolution, at which adversarial training balances."""
        return self.decoder.out.weight

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, H and W multiples of 8 -> (N, D, H / 8, W / 8), not quantized."""
        return self.encoder(images * 2 - 1)

    def decode(self, entries: Tensor) -> Tensor:
        """Entries (N, D, h, w) -> images (N, 3, 8 h, 8 w), about 0..1 (not clamped)."""
        return (self.decoder(entries) + 1) / 2
