import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from projects.dat.attacks import DiscreteAttack, PixelAttack, isolate


class Restless(nn.Module):
    """A model that changes in every way a training-mode forward pass may change it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.momentum = copy.deepcopy(self.encoder).requires_grad_(False)
        nn.init.zeros_(self.momentum[0].weight)
        self.head = nn.Conv2d(4, 1, 1)
        self.tied = self.head
        self.register_buffer('queue', torch.randn(5))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.long))
        self.register_buffer('scratch', torch.ones(2), persistent=False)
        self.register_buffer('empty', None)
        self.calls = 0
        self.history = [1.0]

    def forward(self, x):
        for slow, fast in zip(self.momentum.parameters(), self.encoder.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.1)
        with torch.no_grad():
            key = self.momentum(x).mean().reshape(1)
            self.momentum[0].bias.add_(0.1)
        self.queue = torch.cat([self.queue[1:], key])
        self.empty = torch.ones(1)
        self.pointer += 1
        self.scratch.mul_(0.9)
        self.calls += 1
        self.history.append(key)
        self.last = key
        self.momentum[1].train(not self.momentum[1].training)
        noise = random.random() + np.random.rand()
        return (self.head(self.encoder(x)) - key).square().mean() * (1 + noise)


def fingerprint(model):
    """Everything that must not change, by value, and which tensor objects the model holds."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {
        'tensors': {k: v.detach().clone() for k, v in tensors.items()},
        'identity': {k: id(v) for k, v in tensors.items()},
        'grads': {k: v.grad.clone() for k, v in tensors.items() if v.grad is not None},
        'flags': {k: v.requires_grad for k, v in tensors.items()},
        'training': {k: m.training for k, m in model.named_modules()},
        'python': (model.calls, list(model.history), model.empty, hasattr(model, 'last')),
        'rng': (random.getstate(), np.random.get_state(), torch.get_rng_state()),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Restless()
    model.head.bias.requires_grad_(False)
    model(torch.rand(2, 3, 8, 8)).backward()
    model.history.clear()
    model.empty = None
    del model.last
    return model


def forward(model, images, tokenizer):
    model(images)


def pgd(model, images, tokenizer):
    attack = PixelAttack('Linf', 0.1, 0.05, 3, random_start=1.0)
    assert not torch.equal(attack(images, model).images, images)


def discrete(model, images, tokenizer):
    DiscreteAttack(tokenizer, alpha=1.0)(images, model)


def flags(model, images, tokenizer):
    model.requires_grad_(True)
    model.eval()
    model.head = nn.Identity()


@pytest.mark.parametrize('use', [forward, pgd, discrete, flags])
def test_model_and_random_states_are_as_before(model, images, tokenizer, use):
    before = fingerprint(model)
    grads = {name: p.grad for name, p in model.named_parameters()}
    with isolate(model):
        assert not any(p.requires_grad for p in model.parameters())
        use(model, images, tokenizer)
    assert same(fingerprint(model), before)
    assert all(p.grad is grads[name] for name, p in model.named_parameters())


def test_the_model_really_is_restless(model, images):
    before = fingerprint(model)
    model(images)
    after = fingerprint(model)
    for name in ('queue', 'pointer', 'scratch', 'encoder.1.running_mean', 'momentum.0.weight'):
        assert not torch.equal(after['tensors'][name], before['tensors'][name]), name
    for key in ('identity', 'training'):
        assert not same(before[key], after[key])
    for key in ('python', 'rng'):
        assert not any(map(same, before[key], after[key]))


def test_exception_restores_too(model, images):
    before = fingerprint(model)
    with pytest.raises(ZeroDivisionError), isolate(model):
        model(images)
        raise ZeroDivisionError
    assert same(fingerprint(model), before)


def test_training_goes_on_as_if_there_had_been_no_attack(model, images, tokenizer):
    def train(model, attacked):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        for _ in range(3):
            if attacked:
                with isolate(model):
                    pgd(model, images, tokenizer)
            model.zero_grad()
            model(images).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=0.1)
        return model.state_dict()

    with_attack, without = train(copy.deepcopy(model), True), train(model, False)
    assert same(dict(with_attack), dict(without))


def test_inside_no_graph_reaches_a_parameter(model, images):
    with isolate(model):
        assert not model(images).requires_grad
        leaf = images.clone().requires_grad_()
        model(leaf).backward()
        assert leaf.grad.any()


def test_in_place_change_of_a_trainable_parameter_is_named(model):
    with pytest.raises(RuntimeError, match='head.weight'), isolate(model), torch.no_grad():
        model.head.weight.div_(2)


def test_model_without_buffers_and_parameters_works():
    with isolate(nn.Identity()):
        torch.rand(1)
