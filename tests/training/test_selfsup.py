"""Self-supervision under attack: which views, whose gradient, and no trace in the model."""

import copy
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from projects.dat.attacks import DiscreteAttack, PixelAttack
from projects.dat.runtime.errors import UserError
from projects.dat.training import SplitBN
from projects.dat.training.runner import check_adversarial
from tests.training.selfsup_case import METHODS, make, views
from tests.training.toy_detector import toy_tokenizer

STEP = 8 / 255


def loss_of(model, inputs):
    return sum(model(inputs=inputs, data_samples=None, mode='loss').values())


def ascended(model, inputs, attacked):
    """One step of STEP along the sign of the loss's gradient at the attacked views, computed apart
    from the attack, on a copy of the model."""
    leaves = [view.clone().requires_grad_(i in attacked) for i, view in enumerate(inputs)]
    loss_of(copy.deepcopy(model), leaves).backward()
    assert all((leaf.grad is not None) == (i in attacked) for i, leaf in enumerate(leaves))
    return [
        (leaf + 2 * STEP * leaf.grad.sign()).clamp(-1, 1).detach() if i in attacked else leaf
        for i, leaf in enumerate(leaves)
    ]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('attacked', [(1,), (0,), (0, 1), (1, 0)])
@pytest.mark.parametrize('share, count', [(1.0, 4), (0.5, 2), (0.1, 2)])
def test_views_move_along_their_own_gradient(method, attacked, share, count):
    """The last images of the attacked views; all else is the plain batch, bit for bit."""
    model, adversary = make(method, views=attacked, share=share)
    plain = model.data_preprocessor.plain(views())['inputs']
    expected = ascended(model, [view[-count:] for view in plain], attacked)
    adversary.keep_result = True
    found = model.data_preprocessor(views(), training=True)['inputs']
    for i, view in enumerate(found):
        if i in attacked:
            assert torch.equal(view[: 4 - count], plain[i][: 4 - count])
            # Where a gradient is next to nothing, its sign is a matter of rounding.
            same = torch.isclose(view[-count:], expected[i], atol=1e-5)
            assert same.float().mean() > 0.999
            assert (view[-count:] != plain[i][-count:]).float().mean() > 0.9
        else:
            assert torch.equal(view, plain[i])
    images, _, _, result = adversary.kept
    assert images.shape == result.images.shape == (len(attacked) * count, 3, 32, 32)


def fingerprint(model):
    return [
        {key: value.clone() for key, value in model.state_dict().items()},
        {key: value.clone() for key, value in model.named_buffers()},
        {key: value.requires_grad for key, value in model.named_parameters()},
        {key: module.training for key, module in model.named_modules()},
        random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(),
    ]


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


ATTACKS = {
    'discrete': lambda: DiscreteAttack(toy_tokenizer(), alpha=5.0),
    'pixel, 2 steps': lambda: PixelAttack('L2', 0.5, 0.4, 2, random_start=1.0),
}


@pytest.mark.parametrize('method, attacked', [*((m, (0, 1)) for m in METHODS), ('MoCo', (0,))])
@pytest.mark.parametrize('make_attack', ATTACKS.values(), ids=ATTACKS)
def test_no_trace(method, attacked, make_attack):
    """Momentum encoder and the counter of its schedule, batch norms, queue and its pointer."""
    model, adversary = make(method, make_attack(), views=attacked)
    loss_of(model, model.data_preprocessor.plain(views())['inputs']).backward()
    with torch.no_grad():  # so that the momentum encoder has something to follow
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter) * parameter.requires_grad)
    gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    before = fingerprint(model)
    adversary.measure = True
    inputs = model.data_preprocessor(views(seed=2), training=True)['inputs']
    assert all(equal(a, b) for a, b in zip(before, fingerprint(model), strict=True))
    found = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert equal(found, gradients)
    # A training pass does leave traces, of every kind that the model has.
    after = copy.deepcopy(model)
    loss_of(after, inputs)
    changed = {key for key, value in after.named_buffers() if not equal(value, before[1][key])}
    momentum = {'MoCoV3': 'momentum_encoder', 'MoCo': 'encoder_k'}.get(method)
    expected = ['running_mean', 'num_batches_tracked']
    expected += [f'{momentum}.steps'] if momentum else []
    expected += ['queue', 'queue_ptr'] if method == 'MoCo' else []
    assert all(any(key.endswith(name) for key in changed) for name in expected), changed
    if momentum:
        key = f'{momentum}.module.0.conv1.weight'
        assert not torch.equal(after.state_dict()[key], before[0][key])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert norms or method == 'MoCo'


@pytest.mark.parametrize('method', METHODS)
def test_batch_norms_stay_plain(method):
    model, _ = make(method, split_bn='clean')
    assert not any(isinstance(module, SplitBN) for module in model.modules())


@pytest.mark.parametrize(
    'method, factor', [('SimSiam', 1.5), ('SimCLR', 5 / 3), ('MoCoV3', 13 / 8)]
)
def test_cost(method, factor):
    """As the configs' headers say; forward, back to images and back to weights cost alike."""
    model, _ = make(method)
    inputs = model.data_preprocessor.plain(views())['inputs']
    for view in inputs:  # the first convolution's share of the way back, which is small elsewhere
        view.requires_grad_()
    with FlopCounterMode(display=False) as plain:
        loss_of(model, inputs).backward()
    with FlopCounterMode(display=False) as attack:
        model.data_preprocessor(views(), training=True)
    assert 1 + attack.get_total_flops() / plain.get_total_flops() == pytest.approx(factor, abs=0.03)


def test_a_view_without_a_gradient_is_named():
    model, _ = make('MoCo')
    with pytest.raises(UserError, match='loss of MoCo that depends on .*adversarial.views'):
        model.data_preprocessor(views(), training=True)


@pytest.mark.parametrize(
    'data, attacked, said',
    [
        (lambda: views(number=1), (1,), 'expected 2 views .* found 1 view: use MultiView'),
        (lambda: views(number=1), (0,), 'expected 2 views .* found 1 view: use MultiView'),
        (lambda: views(number=2), (2,), 'expected 3 views .* found 2 view'),
        (lambda: dict(views(), inputs=views()['inputs'][0]), (1,), 'found images without views'),
        (lambda: dict(views(), inputs=[views()['inputs'][0], views(size=24)['inputs'][0]]), (0, 1),
         'views of one size .* found .32, 32. and .24, 24.'),
    ],
)
def test_views_that_do_not_do(data, attacked, said):
    model, _ = make('SimSiam', views=attacked)
    with pytest.raises(UserError, match=said):
        model.data_preprocessor(data(), training=True)


@pytest.mark.parametrize('wrong', [(), 1, (1, 1), (-1,), ('1',), 'both'])
def test_numbers_of_views_are_checked_before_a_run(wrong):
    adversarial = dict(tokenizer=None, views=wrong, attack=dict(
        type='PixelAttack', norm='Linf', eps=0.1, alpha=0.1, steps=1))
    with pytest.raises(UserError, match=r'"\[0,1\]" for both, got'):
        check_adversarial(Config(dict(adversarial=adversarial)))
