"""Token flips against the same choice made by loops, and against every exchange tried."""

import math

import pytest
import scipy.stats
import torch

from projects.dat.attacks import TokenFlipAttack
from projects.dat.runtime.errors import ArgumentError


def flip(tokenizer, images, objective, mask=None, seed=0, **options):
    attack = TokenFlipAttack(tokenizer, **options)
    attack.seed(seed)
    return attack(images, objective, mask)


def slope_of(tokenizer, images, objective, tokens):
    """The gradient by code vector, (N, h, w, D), of fresh autograd."""
    entries = tokenizer.codebook[tokens].movedim(-1, 1).requires_grad_()
    objective(tokenizer.decode(entries, images.shape[2:])).backward()
    return entries.grad.movedim(1, -1)


def nearest(codebook, code, count):
    """Indices of the codes nearest to one, by loops."""
    others = [i for i in range(len(codebook)) if i != code]
    return sorted(others, key=lambda i: math.dist(codebook[i], codebook[code]))[:count]


@pytest.mark.parametrize('rate, neighbors', [(0.1, 1), (0.1, 5), (0.5, 3), (1.0, 63)])
def test_the_exchanges_are_those_that_loops_choose(tokenizer, images, objective, rate, neighbors):
    result = flip(tokenizer, images, objective, rate=rate, neighbors=neighbors)
    tokens = tokenizer.tokenize(images)
    slope = slope_of(tokenizer, images, objective, tokens)
    codebook = tokenizer.codebook.tolist()
    expected, promised = tokens.clone(), 0
    for image in range(len(images)):
        found = []
        for row, column in torch.cartesian_prod(*map(torch.arange, tokens.shape[1:])).tolist():
            old = tokens[image, row, column].item()
            here = slope[image, row, column]
            gains = {
                new: ((tokenizer.codebook[new] - tokenizer.codebook[old]) * here).sum().item()
                for new in nearest(codebook, old, neighbors)
            }
            new = max(gains, key=gains.get)
            found.append((gains[new], row, column, new))
        for gain, row, column, new in sorted(found, reverse=True)[: round(rate * len(found))]:
            expected[image, row, column] = new
            promised += gain
    assert torch.equal(result.changed, expected != tokens)
    assert torch.allclose(result.images, tokenizer.detokenize(expected, images.shape[2:]))
    assert result.stats['attack/gain'].item() == pytest.approx(promised, rel=1e-3)


def test_first_order_gains_rank_the_true_changes(tokenizer, images, objective):
    """Every exchange of one position for one of 8 neighbors, tried by itself."""
    images = images[:1]
    objective.target = objective.target[:1]
    tokens = tokenizer.tokenize(images)
    slope = slope_of(tokenizer, images, objective, tokens)
    before = objective(tokenizer.detokenize(tokens, images.shape[2:])).item()
    gains, changes = [], []
    for row, column in torch.cartesian_prod(*map(torch.arange, tokens.shape[1:])).tolist():
        old = tokens[0, row, column].item()
        for new in nearest(tokenizer.codebook.tolist(), old, 8):
            move = tokenizer.codebook[new] - tokenizer.codebook[old]
            gains.append((move * slope[0, row, column]).sum().item())
            tried = tokens.clone()
            tried[0, row, column] = new
            after = objective(tokenizer.detokenize(tried, images.shape[2:])).item()
            changes.append(after - before)
    assert scipy.stats.spearmanr(gains, changes).statistic > 0.9


@pytest.mark.parametrize('steps', [1, 3])
@pytest.mark.parametrize('rate', [0.0, 0.038, 0.2, 1.0])
def test_the_rate_is_exact_by_image(tokenizer, images, objective, mask, rate, steps):
    result = flip(tokenizer, images, objective, mask, rate=rate, steps=steps)
    allowed = torch.nn.functional.max_pool2d(mask.float(), 8, ceil_mode=True)[:, 0].sum((1, 2))
    expected = [round(rate * count) for count in allowed.tolist()]
    assert result.changed.sum((1, 2)).tolist() == expected
    assert objective.calls == steps
    assert result.stats['attack/token_change'].item() == pytest.approx(
        sum(expected) / allowed.sum().item()
    )
    if rate == 0:
        rebuilt = torch.where(mask, tokenizer.reconstruct(images), images)
        assert torch.equal(result.images, rebuilt)


def test_residual_images_differ_from_the_input_by_the_exchange_alone(
    tokenizer, images, objective, mask
):
    size = images.shape[2:]
    result = flip(tokenizer, images, objective, mask, rate=0.2, residual=True)
    tokens = tokenizer.tokenize(images)
    entries = tokenizer.codebook[tokens].movedim(-1, 1).requires_grad_()
    rebuilt = tokenizer.decode(entries, size)
    shown = torch.where(mask, images + rebuilt - rebuilt.detach(), images)
    loss = objective(shown)
    loss.backward()
    assert result.stats['attack/objective_before'].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(result.reconstruction, images, atol=1e-6)
    slope = entries.grad.movedim(1, -1)
    at = tuple(result.changed[0].nonzero()[0].tolist())
    code = tokens[0][at].item()
    gains = {
        new: ((tokenizer.codebook[new] - tokenizer.codebook[code]) * slope[0][at]).sum()
        for new in nearest(tokenizer.codebook.tolist(), code, 8)
    }
    exchanged = tokens.clone()
    exchanged[0][at] = max(gains, key=gains.get)
    patch = tuple(slice(8 * i, 8 * i + 8) for i in at)
    moved = tokenizer.detokenize(exchanged, size) - tokenizer.detokenize(tokens, size)
    expected = (images + moved).clamp(0, 1)[0][(slice(None), *patch)]
    assert torch.allclose(result.images[0][(slice(None), *patch)], expected, atol=1e-6)
    none = flip(tokenizer, images, objective, mask, rate=0.0, residual=True)
    assert torch.allclose(none.images, images, atol=1e-6)


def test_padding_stays(tokenizer, images, objective, mask):
    result = flip(tokenizer, images, objective, mask, rate=1.0)
    assert torch.equal(result.images[1, :, 20:], images[1, :, 20:])
    assert torch.equal(result.images[1, :, :, 25:], images[1, :, :, 25:])
    assert not result.changed[1, 3:].any() and not result.changed[1, :, 4:].any()


def test_flips_raise_the_loss_more_than_random_ones_and_steps_more_still(
    tokenizer, images, objective
):
    def loss(**options):
        return objective(flip(tokenizer, images, objective, rate=0.2, **options).images).item()

    start = objective(tokenizer.reconstruct(images)).item()
    losses = [start, loss(direction='random'), loss(), loss(steps=4), loss(steps=4, neighbors=32)]
    assert losses[2] > losses[1] and losses[2:] == sorted(losses[2:])


def test_a_random_direction_never_asks(tokenizer, images, objective):
    result = flip(tokenizer, images, objective, direction='random', rate=0.1)
    assert objective.calls == 0 and tokenizer.decoded == 1
    assert result.changed.sum((1, 2)).tolist() == [3, 3, 3]
    assert set(result.stats) == {'attack/token_change', 'attack/skipped'}


@pytest.mark.parametrize('options', [dict(temperature=1.0), dict(direction='random')])
def test_random_numbers_are_the_attacks_own(tokenizer, images, objective, options):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, same, other = (
        flip(tokenizer, images, objective, rate=0.1, seed=seed, **options).changed
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_little_temperature_changes_little(tokenizer, images, objective):
    greedy = flip(tokenizer, images, objective, rate=0.2).changed
    cool = flip(tokenizer, images, objective, rate=0.2, temperature=0.01).changed
    hot = flip(tokenizer, images, objective, rate=0.2, temperature=100.0).changed
    assert (greedy & cool).sum() > 0.9 * greedy.sum() > (greedy & hot).sum()


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_loss_that_is_not_finite_leaves_the_reconstruction(tokenizer, images, bad):
    result = flip(tokenizer, images, lambda x: x.sum() * bad)
    assert result.stats['attack/skipped'] == 1 and result.stats['attack/token_change'] == 0
    assert torch.equal(result.images, tokenizer.reconstruct(images))


def test_the_objective_runs_in_the_callers_autocast(tokenizer, images, objective):
    seen = []

    def watched(x):
        seen.append(torch.is_autocast_enabled('cpu'))
        return objective(x)

    tokens = flip(tokenizer, images, objective, rate=0.2).changed
    with torch.autocast('cpu', torch.bfloat16):
        flip(tokenizer, images, watched)
        # Sums of products, which no autocast touches: all is as without it.
        assert torch.equal(flip(tokenizer, images, objective, rate=0.2).changed, tokens)
    assert seen == [True]


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(rate=-0.1), 'rate'),
        (dict(rate=1.1), 'rate'),
        (dict(rate='much'), 'rate'),
        (dict(neighbors=0), 'neighbors'),
        (dict(neighbors=2.5), 'neighbors'),
        (dict(steps=0), 'steps'),
        (dict(temperature=-1.0), 'temperature'),
        (dict(direction='up'), 'direction'),
        (dict(loss_scale=3.0), 'loss_scale'),
    ],
)
def test_bad_settings_are_named(tokenizer, options, named):
    with pytest.raises(ArgumentError, match=named):
        TokenFlipAttack(tokenizer, **options)
