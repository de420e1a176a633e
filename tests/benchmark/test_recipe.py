import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from projects.dat.attacks import DiscreteAttack
from projects.dat.benchmark.data import make_batch, make_images
from projects.dat.benchmark.recipe import (
    PublishedRecipe,
    matrix_bytes,
    nearest_tokens,
    reconstruct,
)
from projects.dat.tokenizer import VQGAN, FastVQGAN, Tokenizer, nearest_codes
from projects.dat.training import AdversarialDetDataPreprocessor, Adversary, SplitBN
from projects.dat.training.split_bn import set_route, split_batch_norms

OPTIONS = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


class Detector(BaseModel):
    """Batch norm, and a loss that is a mean over images and needs their targets."""

    def __init__(self, preprocessor, norm):
        super().__init__(preprocessor)
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = norm(8)
        self.calls = 0

    def forward(self, inputs, data_samples, mode):
        assert mode == 'loss'
        self.calls += 1
        features = self.norm(self.conv(inputs)).relu().mean(dim=(2, 3))
        targets = torch.stack([s.gt_instances.bboxes.mean() for s in data_samples]) / 64
        return dict(loss_cls=features.square().mean(), loss_bbox=(features[:, 0] - targets).abs())


def make_network(kind):
    torch.manual_seed(0)
    if kind == 'fast':
        network = FastVQGAN(width=8, num_tokens=64)
    else:
        network = VQGAN(
            ch=32, ch_mult=(1, 1), num_res_blocks=1, attention=(False, True), z_channels=4,
            num_tokens=64, embed_dim=4,
        )
    network.eval().requires_grad_(False)
    # Tokens where the encoder's outputs are, so that many are used.
    outputs = network.encode(torch.rand(2, 3, 64, 64))
    mean, std = (f(outputs, dim=(0, 2, 3)) for f in (torch.mean, torch.std))
    network.quantize.embedding.weight.copy_(mean + 2 * std * torch.randn(64, 4))
    return network


@pytest.fixture
def images():
    return make_images(4, 64, seed=3)


@pytest.mark.parametrize('kind', ['fast', 'vqgan'])
def test_the_tokenizer_is_the_fast_paths(kind, images):
    network = make_network(kind)
    images = images.float() / 255
    plain = reconstruct(network, images)
    assert len(Tokenizer(network).tokenize(images).unique()) > 10
    torch.testing.assert_close(plain, Tokenizer(network).reconstruct(images), rtol=0, atol=1e-4)


def test_words_are_the_fast_searchs():
    torch.manual_seed(0)
    vectors, codebook = torch.randn(3, 8, 8, 4), torch.randn(500, 4)
    expected = nearest_codes(vectors.view(-1, 4), codebook).view(3, 8, 8)
    assert torch.equal(nearest_tokens(vectors, codebook), expected)


def test_the_gradient_is_the_fast_paths(images):
    """With halves that batch norm keeps apart, the mean over 2N is half of the sum of two means."""
    network, data = make_network('fast'), make_batch(images, seed=1)

    plain = Detector(DetDataPreprocessor(**OPTIONS), nn.BatchNorm2d).train()
    optimizer = OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.1))
    before = plain.conv.weight.clone()
    PublishedRecipe(plain, optimizer, network, rgb=True, random_start=0).step(data)

    adversarial = Detector(AdversarialDetDataPreprocessor(**OPTIONS), SplitBN).train()
    set_route(split_batch_norms(adversarial), 'split')
    attack = DiscreteAttack(Tokenizer(network), variant='released', alpha=0.1, eps=0.1)
    adversary = Adversary(attack, adversarial)
    adversarial.data_preprocessor.bind(adversary)
    losses = adversarial(**adversarial.data_preprocessor(data, True), mode='loss')
    adversarial.parse_losses(losses)[0].backward()

    assert adversary.stats['attack/token_change'] > 0
    for own, fast in zip(plain.parameters(), adversarial.parameters(), strict=True):
        torch.testing.assert_close(own.grad, 2 * fast.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(plain.conv.weight, before - 0.1 * plain.conv.weight.grad)


@pytest.mark.parametrize('random_start', [0.0, 1.0])
def test_the_attack_stays_within_eps_and_trains_nothing(images, random_start):
    model = Detector(DetDataPreprocessor(**OPTIONS), nn.BatchNorm2d).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    recipe = PublishedRecipe(
        model, optimizer, make_network('fast'), rgb=True, random_start=random_start
    )
    samples = make_batch(images, seed=1)['data_samples']
    # Away from 0 and 1, where the clamp shortens the step.
    start = images.float() / 255 * 0.5 + 0.25
    adversarial = recipe._attack(start, samples)
    lengths = (adversarial - start).flatten(1).norm(dim=1)
    if random_start:
        assert (lengths <= 0.1 + 1e-5).all() and (lengths > 0).all()
    else:
        torch.testing.assert_close(lengths, torch.full((4,), 0.1), rtol=1e-4, atol=0)
    # As published: the backward pass reaches the parameters.
    assert model.conv.weight.grad.abs().sum() > 0
    assert not adversarial.requires_grad


def test_a_step_is_three_forward_passes(images):
    model = Detector(DetDataPreprocessor(**OPTIONS), nn.BatchNorm2d).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    PublishedRecipe(model, optimizer, make_network('fast'), rgb=True).step(make_batch(images, 1))
    assert model.calls == 3


@pytest.mark.parametrize(
    'kind, size, batch, expected',
    [
        # 64 tokens, 8 x 8 positions: 3 matrices of 2 * 64 by 64 floats.
        ('fast', 64, 2, 3 * 2 * 64 * 64 * 4),
        # 32 x 32 positions and attention: 2 matrices of 1024 by 1024 exceed 3 of 1024 by 64.
        ('vqgan', 64, 1, 2 * 1024 * 1024 * 4),
        ('vqgan', 8, 1, 3 * 16 * 64 * 4),
    ],
)
def test_memory_of_the_matrices(kind, size, batch, expected):
    assert matrix_bytes(make_network(kind), size, batch) == expected
