"""The published recipe of DAT, done plainly: what our step is compared with."""

import random

import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class PublishedRecipe:
    """One training step as the released code takes it for classification, on a detector.

    Source: https://github.com/alibaba/easyrobust, examples/imageclassification/imagenet/dat/main.py
    (DAT, https://arxiv.org/abs/2209.07735): clean loss; x_rec = Q(x); one L2 PGD step of eps =
    alpha = 0.1 from x_rec, with probability 0.8 from a random point at distance eps, against the
    model in training mode; the loss at Q of that is added to the clean one; one optimizer step. The
    attack's backward pass computes the gradients of all parameters, which are then dropped. Q runs
    in fp32 on all images at once, in the contiguous memory format, and holds the distances of all
    vectors to all tokens. A forward pass whose result the released attack does not use is left out.

    Args:
        model: A plain model in training mode.
        optimizer: Of the model.
        network: VQGAN in fp32, on the model's device.
        seed: Of the random start.
        random_start: Probability of the random start, per batch. Defaults to 0.8.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimWrapper,
        network: nn.Module,
        seed: int,
        random_start: float = 0.8,
    ):
        self.model = model
        self.optimizer = optimizer
        self.network = network
        self.random = random.Random(seed)
        self.random_start = random_start
        preprocessor = model.data_preprocessor
        # From the loader's BGR: MMDetection's name for it, then MMPretrain's.
        self.rgb = getattr(preprocessor, '_channel_conversion', getattr(preprocessor, 'to_rgb', 0))
        self.mean = getattr(preprocessor, 'mean', 0)  # without normalization there is none
        self.std = getattr(preprocessor, 'std', 1)

    def step(self, data: dict) -> None:
        """One training step; every image fills its place in the batch, without padding."""
        data = self.model.data_preprocessor(data, True)
        samples = data['data_samples']
        images = (data['inputs'] * self.std + self.mean) / 255
        images = images if self.rgb else images.flip(1)
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
        images = images if self.rgb else images.flip(1)
        inputs = (images * 255 - self.mean) / self.std
        return self.model.parse_losses(self.model(inputs, samples, mode='loss'))[0]


@torch.no_grad()
def reconstruct(network: nn.Module, images: Tensor) -> Tensor:
    """Q(x), (N, 3, H, W) in 0..1, with the full attention and distance matrices."""
    codebook = network.quantize.embedding.weight
    with sdpa_kernel(SDPBackend.MATH):
        vectors = network.encode(images).movedim(1, -1)
        flat = vectors.flatten(0, -2)
        distances = flat.square().sum(1, keepdim=True) + codebook.square().sum(1)
        tokens = (distances - 2 * (flat @ codebook.T)).argmin(1).view(vectors.shape[:-1])
        entries = F.embedding(tokens, codebook).movedim(-1, 1)
        return network.decode(entries.contiguous()).clamp(0, 1)


def _norm(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
