"""Images to tokens and back."""

import copy
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from projects.dat.runtime.errors import ArgumentError

from .codebook import nearest_codes
from .precision import PRECISIONS, per_part, true_fp32


class Tokenizer(nn.Module):
    """A frozen VQGAN with a precision policy and micro-batches.

    No weight ever gets a gradient; :meth:`decode` alone hands one on to its input.

    Images are float (N, 3, H, W), RGB, 0..1, of any H and W: they are padded by reflection to a
    multiple of ``downscale`` and cropped back. Tokens are LongTensor (N, ceil(H / downscale),
    ceil(W / downscale)). Inside, everything is channels_last.

    Args:
        network (nn.Module): With ``encode(images)``, ``decode(entries)``, the modules ``encoder``
            and ``decoder``, ``quantize.embedding.weight`` and ``downscale``. It is frozen and
            laid out channels_last; where a precision is not 'fp32', a copy of it computes, so
            that later changes of its weights have no effect there.
        precision (str | dict): 'fp32', 'bf16' or 'fp16' (not on the CPU, where it is many times
            slower than fp32), or one for each part, ``dict(encode=..., decode=...)``. fp32 is fp32:
            TF32, which torch allows in convolutions on GPUs from Ampere on, is off while the
            tokenizer runs. Images enter and leave in fp32, and the nearest-code search is exact,
            always. A lower precision moves encoder outputs by a fraction of a per cent, so that
            vectors near a boundary get another, similar token: with the bundled tokenizer, bf16
            changes about 3 % of a photograph's tokens. An attack compares tokens of one precision
            with each other. Defaults to 'fp32'.
        micro_batch (int, optional): Images that go through the network at once; bounds the memory
            of large batches. Defaults to None, all at once.
        compile (bool): Whether encode and decode go through ``torch.compile``: the first call, and
            the first of a new image size, then takes up to minutes. It is meant for GPUs: on a CPU
            the compiled network was no faster. Defaults to False.

    Raises:
        ArgumentError: A precision or micro_batch is out of range; it is a ValueError.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: str | Mapping[str, str] = 'fp32',
        micro_batch: int | None = None,
        compile: bool = False,
    ):
        super().__init__()
        self.precision = per_part(precision)
        if micro_batch is not None and micro_batch < 1:
            raise ArgumentError(
                f'expected micro_batch to be a positive number of images or None, got {micro_batch}'
            )
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.micro_batch = micro_batch
        lower = set(self.precision.values()) - {'fp32'}
        self.copies = nn.ModuleDict({name: _copy_in(name, self.network) for name in sorted(lower)})
        functions = {
            part: getattr(self.copies[name] if name in lower else self.network, part)
            for part, name in self.precision.items()
        }
        if compile:
            functions = {part: torch.compile(function) for part, function in functions.items()}
        self._functions = functions
        self._range_checked = False

    def train(self, mode: bool = True) -> 'Tokenizer':
        """Stays in eval mode whatever the model around it does."""
        return super().train(False)

    @property
    def downscale(self) -> int:
        """Side in pixels of the square that one token stands for."""
        return self.network.downscale

    @property
    def codebook(self) -> Tensor:
        """(K, D), fp32."""
        return self.network.quantize.embedding.weight

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Images -> tokens; ArgumentError for images in 0..255."""
        self._check_range(images)
        return self._in_micro_batches(self._tokenize, images)

    @torch.no_grad()
    def detokenize(self, tokens: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Tokens -> images (N, 3, H, W), fp32, 0..1, cropped to ``size`` = (H, W) where given."""
        return self.decode(F.embedding(tokens, self.codebook).movedim(-1, 1), size)

    def decode(self, entries: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Code vectors (N, D, h, w) -> images as :meth:`detokenize` gives them; differentiable."""
        height, width = size or (None, None)
        return self._in_micro_batches(self._decode, entries)[..., :height, :width]

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Q(x) of the DAT paper: images -> images of the same size, fp32, 0..1."""
        return self.detokenize(self.tokenize(images), images.shape[-2:])

    def _check_range(self, images: Tensor) -> None:
        # On other devices than the CPU the first batch alone: looking at values waits for them.
        look = images.device.type == 'cpu' or not (self._range_checked or images.is_meta)
        # Normalized padding, which an attack leaves alone, may lie a little outside 0..1.
        if not images.is_floating_point() or look and images.numel() and images.max() > 10:
            raise ArgumentError(
                f'the tokenizer expects float images in 0..1, but got {images.dtype} up to '
                f'{images.max().item():.4g}: divide images in 0..255 by 255'
            )
        self._range_checked |= look

    def _tokenize(self, images: Tensor) -> Tensor:
        prequant = self._run('encode', pad_to_multiple(images.float(), self.downscale))
        n, dim, height, width = prequant.shape
        vectors = prequant.movedim(1, -1).reshape(-1, dim)
        return nearest_codes(vectors, self.codebook).view(n, height, width)

    def _decode(self, entries: Tensor) -> Tensor:
        entries = entries.to(PRECISIONS[self.precision['decode']])
        return self._run('decode', entries).clamp(0, 1)

    def _run(self, part: str, inputs: Tensor) -> Tensor:
        """One part of the network in its own precision, whatever the caller's autocast; fp32."""
        device = inputs.device.type
        if device == 'cpu' and self.precision[part] == 'fp16':
            raise ArgumentError(
                f'expected {part} on the CPU in fp32 or bf16, got fp16, which takes many times as '
                'long as fp32 there; choose bf16 or move the tokenizer to a GPU'
            )
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, enabled=False), true_fp32():
            return self._functions[part](inputs).float()

    def _in_micro_batches(self, function, batch: Tensor) -> Tensor:
        if self.micro_batch is None or len(batch) <= self.micro_batch:
            return function(batch)
        return torch.cat([function(part) for part in batch.split(self.micro_batch)])


def _copy_in(precision: str, network: nn.Module) -> nn.Module:
    """A copy that computes in ``precision``, from and to images in fp32."""
    dtype = PRECISIONS[precision]
    network = copy.deepcopy(network).to(dtype)
    # 2x - 1 and (x + 1) / 2, which the networks compute outside, would cost bf16 one or two bits.
    network.encoder.register_forward_pre_hook(partial(_cast_input, dtype))
    network.decoder.register_forward_hook(_output_in_fp32)
    return network


def _cast_input(dtype: torch.dtype, module: nn.Module, inputs: tuple) -> tuple:
    return (inputs[0].to(dtype),)


def _output_in_fp32(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return output.float()


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and the right by reflection to multiples of ``multiple``."""
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return images
    # Reflection needs more pixels than it pads; smaller images repeat their edge.
    mode = 'reflect' if bottom < height and right < width else 'replicate'
    return F.pad(images, (0, right, 0, bottom), mode=mode)
