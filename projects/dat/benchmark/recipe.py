"""The published recipe of DAT, done plainly: what the fast path is compared with."""

import random

import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from projects.dat.tokenizer.vqgan import AttnBlock
from projects.dat.training.pixels import PixelSpace

# Of the expression in `nearest_tokens`: a sum, a product and what becomes of them.
_DISTANCE_MATRICES = 3
_ATTENTION_MATRICES = 2  # before and behind the softmax


class PublishedRecipe:
    """One training step as the released code takes it for classification, on a detector.

    Source: https://github.com/alibaba/easyrobust, examples/imageclassification/imagenet/dat/main.py
    (DAT, https://arxiv.org/abs/2209.07735): clean loss; x_rec = Q(x); one L2 PGD step of eps =
    alpha = 0.1 from x_rec, with probability 0.8 from a random point at distance eps, against the
    model in training mode; the loss at Q of that is added to the clean one; one optimizer step. The
    attack's backward pass computes the gradients of all parameters, which are then dropped. Q runs
    in fp32 on all images at once, in the contiguous memory format, and holds the distances of all
    vectors to all tokens.

    A forward pass whose result the released attack does not use is left out.

    Args:
        model: A plain model in training mode.
        optimizer: Of the model.
        network: VQGAN in fp32, on the model's device.
        rgb: Whether the model takes RGB.
        random_start: Probability of the random start, per batch. Defaults to 0.8.
        seed: Of the random start. Defaults to 0.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimWrapper,
        network: nn.Module,
        rgb: bool,
        random_start: float = 0.8,
        seed: int = 0,
    ):
        self.model = model
        self.optimizer = optimizer
        self.network = network
        self.pixels = PixelSpace(model.data_preprocessor, rgb)
        self.random_start = random_start
        self.random = random.Random(seed)

    def step(self, data: dict) -> None:
        """One training step; every image fills its place in the batch, without padding."""
        data = self.model.data_preprocessor(data, True)
        samples = data['data_samples']
        images = self.pixels.to_images(data['inputs'])
        loss = self._loss(images, samples)
        start = reconstruct(self.network, images)
        adversarial = reconstruct(self.network, self._attack(start, samples))
        loss = loss + self._loss(adversarial, samples)
        self.optimizer.zero_grad()
        self.optimizer.backward(loss)
        self.optimizer.step()

    def _attack(self, start: Tensor, samples: list, eps: float = 0.1) -> Tensor:
        point = start
        if self.random.random() < self.random_start:
            noise = torch.randn_like(start)
            point = (start + eps * noise / _norm(noise)).clamp(0, 1)
        point = point.detach().requires_grad_()
        self._loss(point, samples).backward()
        with torch.no_grad():
            delta = point + eps * point.grad / (_norm(point.grad) + 1e-10) - start
            delta = delta * (eps / _norm(delta)).clamp(max=1)
            return (start + delta).clamp(0, 1)

    def _loss(self, images: Tensor, samples: list) -> Tensor:
        losses = self.model(self.pixels.to_inputs(images), samples, mode='loss')
        return self.model.parse_losses(losses)[0]


@torch.no_grad()
def reconstruct(network: nn.Module, images: Tensor) -> Tensor:
    """Q(x), (N, 3, H, W) in 0..1, with the full attention and distance matrices."""
    with sdpa_kernel(SDPBackend.MATH):
        prequant = network.encode(images)
        tokens = nearest_tokens(prequant.movedim(1, -1), network.quantize.embedding.weight)
        tokens = F.embedding(tokens, network.quantize.embedding.weight)
        return network.decode(tokens.movedim(-1, 1).contiguous()).clamp(0, 1)


def nearest_tokens(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Indices (...) of the tokens (K, D) nearest to vectors (..., D), by all distances at once."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    distances = (
        flat.square().sum(dim=1, keepdim=True)
        + codebook.square().sum(dim=1)
        - 2 * (flat @ codebook.T)
    )
    return distances.argmin(dim=1).view(vectors.shape[:-1])


def matrix_bytes(network: nn.Module, size: int, batch: int) -> int:
    """Memory of :func:`reconstruct`'s distance or attention matrices, whichever need more."""
    positions = (size // network.downscale) ** 2
    distances = _DISTANCE_MATRICES * batch * positions * len(network.quantize.embedding.weight)
    attends = any(isinstance(module, AttnBlock) for module in network.modules())
    attention = _ATTENTION_MATRICES * batch * positions**2 * attends
    return 4 * max(distances, attention)


def _norm(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
