"""Images to visual words and back."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codebook import nearest_codes

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16}


class Tokenizer(nn.Module):
    """A frozen VQGAN with a precision policy and micro-batches; nothing in it ever computes a
    gradient.

    Images are float (N, 3, H, W), RGB, 0..1, of any H and W: they are padded by reflection to a
    multiple of ``downscale`` and cropped back. Tokens are LongTensor (N, ceil(H / downscale),
    ceil(W / downscale)).

    Args:
        network (nn.Module): With ``encode(images)``, ``decode(words)``,
            ``quantize.embedding.weight`` and ``downscale``.
        precision (str): 'fp32', or 'bf16' for convolutions and attention under autocast; the
            nearest-code search never uses less than fp32. bf16 has 8 significant bits: encoder
            outputs move by a fraction of a per cent, so that vectors near a boundary get another,
            similar word (3.2 % of the words of the bundled tokenizer, on COCO photographs, CPU),
            and decoded pixels move by 0.2/255 on average. An attack compares words of one precision
            with each other. On GPUs from Ampere on, torch runs fp32 convolutions in TF32 unless
            ``torch.backends.cudnn.allow_tf32`` is False. Defaults to 'fp32'.
        micro_batch (int, optional): Images that go through the network at once; bounds the memory
            of large batches. Defaults to None, all at once.
    """

    def __init__(self, network: nn.Module, precision: str = 'fp32', micro_batch: int | None = None):
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(
                f'expected precision to be one of {", ".join(PRECISIONS)}, got {precision!r}'
            )
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(
                f'expected micro_batch to be a positive number of images or None, got {micro_batch}'
            )
        self.network = network.eval().requires_grad_(False)
        self.precision = precision
        self.micro_batch = micro_batch

    def train(self, mode: bool = True) -> 'Tokenizer':
        """Stays in eval mode whatever the model around it does."""
        return super().train(False)

    @property
    def downscale(self) -> int:
        """Side in pixels of the square that one word stands for."""
        return self.network.downscale

    @property
    def codebook(self) -> Tensor:
        """(K, D), fp32."""
        return self.network.quantize.embedding.weight

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Images -> tokens."""
        return self._in_micro_batches(self._tokenize, images)

    @torch.no_grad()
    def detokenize(self, tokens: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Tokens -> images (N, 3, H, W), fp32, 0..1, cropped to ``size`` = (H, W) where given."""
        height, width = size or (None, None)
        return self._in_micro_batches(self._detokenize, tokens)[..., :height, :width]

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Q(x) of the DAT paper: images -> images of the same size, fp32, 0..1."""
        return self.detokenize(self.tokenize(images), images.shape[-2:])

    def _tokenize(self, images: Tensor) -> Tensor:
        with self._autocast(images):
            prequant = self.network.encode(pad_to_multiple(images.float(), self.downscale))
        n, dim, height, width = prequant.shape
        vectors = prequant.movedim(1, -1).reshape(-1, dim)
        return nearest_codes(vectors, self.codebook).view(n, height, width)

    def _detokenize(self, tokens: Tensor) -> Tensor:
        words = F.embedding(tokens, self.codebook).movedim(-1, 1)
        with self._autocast(words):
            images = self.network.decode(words)
        return images.float().clamp(0, 1)

    def _autocast(self, tensor: Tensor) -> torch.autocast:
        # Also where precision is fp32: the caller's own autocast must not reach the tokenizer.
        enabled = self.precision != 'fp32'
        return torch.autocast(
            tensor.device.type, PRECISIONS[self.precision] if enabled else None, enabled=enabled
        )

    def _in_micro_batches(self, function, batch: Tensor) -> Tensor:
        if self.micro_batch is None or len(batch) <= self.micro_batch:
            return function(batch)
        return torch.cat([function(part) for part in batch.split(self.micro_batch)])


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and the right by reflection to multiples of ``multiple``."""
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return images
    # Reflection needs more pixels than it pads; smaller images repeat their edge.
    mode = 'reflect' if bottom < height and right < width else 'replicate'
    return F.pad(images, (0, right, 0, bottom), mode=mode)
