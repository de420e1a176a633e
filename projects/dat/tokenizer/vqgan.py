"""The VQGAN of the published checkpoints, with their state-dict names.

Sources: Esser et al., 2021 (arXiv:2012.09841), appendix A; layout of
https://ommer-lab.com/files/latent-diffusion/vq-f8.zip.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def _normalization(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=32, num_channels=channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Pre-activation residual block, (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = _normalization(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _normalization(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.nin_shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, (N, C, H, W) -> (N, C, H, W).

    Its cost grows with (H * W)^2; scaled_dot_product_attention keeps its memory linear.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _normalization(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (proj(h).flatten(2).transpose(1, 2) for proj in (self.q, self.k, self.v))
        # (N, heads, positions, C): without the head axis the fused kernels are not chosen.
        h = F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(
            1
        )
        return x + self.proj_out(h.transpose(1, 2).reshape_as(x))


class Downsample(nn.Module):
    """Halves H and W; the published weights expect zeros at the bottom and the right only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles H and W: nearest neighbor, then a 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest'))


class _Level(nn.Module):
    """One resolution: residual blocks, attention behind each where asked, then a change of size."""

    def __init__(self, in_channels: int, channels: int, num_blocks: int, attention: bool):
        super().__init__()
        widths = [in_channels] + [channels] * num_blocks
        self.block = nn.ModuleList(
            ResnetBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.attn = nn.ModuleList(
            AttnBlock(channels) for _ in range(num_blocks if attention else 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return x


class _Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """(N, 3, H, W) in -1..1 -> (N, z_channels, H / 2^(levels - 1), W / 2^(levels - 1))."""

    def __init__(
        self, ch: int, ch_mult: tuple, num_res_blocks: int, attention: tuple, z_channels: int
    ):
        super().__init__()
        widths = [ch * m for m in ch_mult]
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.down = nn.ModuleList()
        for i, (a, b) in enumerate(zip([ch] + widths[:-1], widths, strict=True)):
            level = _Level(a, b, num_res_blocks, attention[i])
            if i < len(widths) - 1:
                level.downsample = Downsample(b)
            self.down.append(level)
        self.mid = _Middle(widths[-1])
        self.norm_out = _normalization(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down[:-1]:
            h = level.downsample(level(h))
        h = self.mid(self.down[-1](h))
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    """(N, z_channels, h, w) -> (N, 3, h * 2^(levels - 1), w * 2^(levels - 1)), about -1..1.

    ``up`` is indexed by resolution, finest first as in the published files, and run from its end.
    """

    def __init__(
        self, ch: int, ch_mult: tuple, num_res_blocks: int, attention: tuple, z_channels: int
    ):
        super().__init__()
        widths = [ch * m for m in ch_mult]
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1])
        self.up = nn.ModuleList()
        for i, (a, b) in enumerate(zip(widths[1:] + widths[-1:], widths, strict=True)):
            level = _Level(a, b, num_res_blocks + 1, attention[i])
            if i > 0:
                level.upsample = Upsample(b)
            self.up.append(level)
        self.norm_out = _normalization(ch * ch_mult[0])
        self.conv_out = nn.Conv2d(ch * ch_mult[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up[1:]):
            h = level.upsample(level(h))
        h = self.up[0](h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Codebook(nn.Module):
    """The entries: ``embedding.weight`` (K, D)."""

    def __init__(self, num_tokens: int, dim: int):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, dim)
        nn.init.uniform_(self.embedding.weight, -1 / num_tokens, 1 / num_tokens)


class VQGAN(nn.Module):
    """Encoder, codebook and decoder in the layout of taming-transformers and latent-diffusion.

    The defaults are those of the DAT paper's tokenizer, OpenImages f8 with 16,384 tokens.

    Args:
        ch (int): Channels at full resolution, a multiple of 32. From scratch take 64 at least: with
            32, the layout's 32 groups normalize each channel apart, and the brightness of the image
            is lost.
        ch_mult (tuple): Channel multiplier of each resolution; the downscale factor is 2^(len - 1).
        num_res_blocks (int): Residual blocks of each encoder resolution (the decoder has one more).
        attention (tuple): For each resolution, whether attention follows its blocks.
        z_channels (int): Channels of the encoder's output.
        num_tokens (int): Number of tokens.
        embed_dim (int): Dimension of a codebook entry.
    """

    def __init__(
        self,
        *,
        ch=128,
        ch_mult=(1, 2, 2, 4),
        num_res_blocks=2,
        attention=(False, False, False, True),
        z_channels=4,
        num_tokens=16384,
        embed_dim=4,
    ):
        super().__init__()
        self.encoder = Encoder(ch, ch_mult, num_res_blocks, attention, z_channels)
        self.decoder = Decoder(ch, ch_mult, num_res_blocks, attention, z_channels)
        self.quantize = Codebook(num_tokens, embed_dim)
        self.quant_conv = nn.Conv2d(z_channels, embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, z_channels, 1)
        self.downscale = 2 ** (len(ch_mult) - 1)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last convolution, at which adversarial training balances."""
        return self.decoder.conv_out.weight

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, sides multiples of ``downscale`` -> (N, D, h, w), not quantized."""
        return self.quant_conv(self.encoder(images * 2 - 1))

    def decode(self, entries: Tensor) -> Tensor:
        """Entries (N, D, h, w) -> images (N, 3, H, W), about 0..1 (not clamped)."""
        return (self.decoder(self.post_quant_conv(entries)) + 1) / 2
