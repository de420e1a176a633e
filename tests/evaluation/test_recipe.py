import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from projects.dat.attacks import DiscreteAttack
from projects.dat.evaluation.benchmark import make_batch
from projects.dat.evaluation.recipe import PublishedRecipe, reconstruct
from projects.dat.tokenizer import VQGAN, FastVQGAN, Tokenizer
from projects.dat.training import Adversary
from projects.dat.training.prepare import prepare_model

OPTIONS = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


class Detector(BaseModel):
    """Batch norm, and a loss that is a mean over images and needs their targets."""

    def __init__(self):
        super().__init__(DetDataPreprocessor(**OPTIONS))
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
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
def data():
    return make_batch(4, 64, seed=1)


def make_recipe(**options):
    model = Detector().train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return PublishedRecipe(model, optimizer, make_network('fast'), seed=0, **options)


@pytest.mark.parametrize('kind', ['fast', 'vqgan'])
def test_the_tokenizer_is_ours(kind, data):
    network = make_network(kind)
    images = torch.stack(data['inputs']) / 255
    assert len(Tokenizer(network).tokenize(images).unique()) > 10
    ours = Tokenizer(network).reconstruct(images)
    torch.testing.assert_close(reconstruct(network, images), ours, rtol=0, atol=1e-4)


def test_the_gradient_is_that_of_our_step(data):
    """With halves that batch norm keeps apart, the mean over 2N is half of the sum of two means."""
    recipe = make_recipe(random_start=0)
    plain = recipe.model
    before = plain.conv.weight.clone()
    recipe.step(data)

    ours = prepare_model(Detector(), split_bn='shared').train()
    attack = DiscreteAttack(Tokenizer(recipe.network), variant='released', alpha=0.1, eps=0.1)
    adversary = Adversary(attack, ours)
    ours.data_preprocessor.bind(adversary)
    losses = ours(**ours.data_preprocessor(data, True), mode='loss')
    ours.parse_losses(losses)[0].backward()

    assert adversary.stats['attack/token_change'] > 0
    for theirs, own in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, 2 * own.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(plain.conv.weight, before - 0.1 * plain.conv.weight.grad)


@pytest.mark.parametrize('random_start', [0.0, 1.0])
def test_the_attack_stays_within_eps_and_trains_nothing(data, random_start):
    recipe = make_recipe(random_start=random_start)
    # Away from 0 and 1, where the clamp shortens the step.
    start = torch.stack(data['inputs']) / 255 * 0.5 + 0.25
    adversarial = recipe._attack(start, data['data_samples'])
    lengths = (adversarial - start).flatten(1).norm(dim=1)
    if random_start:
        assert (lengths <= 0.1 + 1e-5).all() and (lengths > 0).all()
    else:
        torch.testing.assert_close(lengths, torch.full((4,), 0.1), rtol=1e-4, atol=0)
    # As published: the backward pass reaches the parameters.
    assert recipe.model.conv.weight.grad.abs().sum() > 0
    assert not adversarial.requires_grad


def test_a_step_is_three_forward_passes(data):
    recipe = make_recipe()
    recipe.step(data)
    assert recipe.model.calls == 3
