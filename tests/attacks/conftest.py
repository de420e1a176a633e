"""A tokenizer and an objective small enough to be recomputed by hand."""

import pytest
import torch
import torch.nn.functional as F


class ToyTokenizer:
    """Random linear projections of 8x8 patches, quantized to 64 codes; not idempotent."""

    downscale = 8

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.analysis = torch.randn(192, 4, generator=generator) / 192**0.5
        self.codebook = torch.randn(64, 4, generator=generator)
        self.synthesis = torch.randn(4, 192, generator=generator) / 8
        self.encoded = self.decoded = 0

    def tokenize(self, images):
        assert not torch.is_autocast_enabled('cpu')
        self.encoded += 1
        h, w = images.shape[2:]
        padded = F.pad(images, (0, -w % 8, 0, -h % 8), mode='reflect')
        patches = F.unfold(padded, 8, stride=8).transpose(1, 2) - 0.5
        tokens = torch.cdist(patches @ self.analysis * 3, self.codebook).argmin(-1)
        return tokens.view(len(images), padded.shape[2] // 8, padded.shape[3] // 8)

    def detokenize(self, tokens, size):
        return self.decode(self.codebook[tokens].movedim(-1, 1), size)

    def decode(self, entries, size):
        assert not torch.is_autocast_enabled('cpu')
        self.decoded += 1
        patches = entries.flatten(2).transpose(1, 2) @ self.synthesis + 0.5
        images = F.fold(patches.transpose(1, 2), [8 * s for s in entries.shape[2:]], 8, stride=8)
        return images[..., : size[0], : size[1]].clamp(0, 1)

    def reconstruct(self, images):
        return self.detokenize(self.tokenize(images), images.shape[2:])


class Quadratic:
    """mean over the batch of (w . x_i - t_i)^2 / 2, whose gradient is known; counts its calls."""

    def __init__(self, images):
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64)
        self.target = torch.randn(len(images), generator=generator, dtype=torch.float64) * 50
        self.calls = 0

    def _error(self, images):
        weight, target = self.weight.to(images.dtype), self.target.to(images.dtype)
        return (images * weight).flatten(1).sum(1) - target

    def __call__(self, images):
        self.calls += 1
        return self._error(images).square().mean() / 2

    def gradient(self, images):
        error = self._error(images.double()) / len(images)
        return (error.view(-1, 1, 1, 1) * self.weight).numpy()


@pytest.fixture
def tokenizer():
    return ToyTokenizer()


@pytest.fixture
def images():
    return torch.rand(3, 3, 36, 44, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def objective(images):
    return Quadratic(images)


@pytest.fixture
def mask():
    """The second image ends at row 20 and column 25, as if it were padded."""
    mask = torch.ones(3, 1, 36, 44, dtype=torch.bool)
    mask[1, :, 20:] = False
    mask[1, :, :, 25:] = False
    return mask
