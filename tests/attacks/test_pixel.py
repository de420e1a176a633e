import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from projects.dat.attacks import PixelAttack

FGSM = dict(norm='Linf', eps=0.05, alpha=0.05, steps=1)
PGD = dict(norm='Linf', eps=0.05, alpha=0.02, steps=5)
PGD_L2 = dict(norm='L2', eps=0.7, alpha=0.3, steps=5)
RANDOM = dict(norm='L2', eps=0.7, alpha=0.3, steps=3, random_start=1.0)
TABLE = pytest.mark.parametrize(
    'settings', [FGSM, PGD, PGD_L2, RANDOM], ids=['FGSM', 'PGD-Linf', 'PGD-L2', 'random start']
)


def test_fgsm_is_the_closed_form(images, objective):
    result = PixelAttack(**FGSM)(images, objective)
    sign = np.sign(objective.gradient(images))
    expected = np.clip(images.numpy() + np.float32(0.05) * sign, 0, 1)
    np.testing.assert_allclose(result.images.numpy(), expected, atol=1e-6)


@TABLE
def test_attack_stays_in_the_ball_and_raises_the_loss(images, settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.LazyLinear(4))
    labels = torch.tensor([0, 1, 2])

    def objective(x):
        return F.cross_entropy(model(x), labels)

    before = objective(images).item()
    result = PixelAttack(**settings)(images, objective)
    moved = (result.images - images).double().numpy()
    order = np.inf if settings['norm'] == 'Linf' else 2
    assert all(np.linalg.norm(d.ravel(), order) <= settings['eps'] + 1e-6 for d in moved)
    assert result.images.min() >= 0 and result.images.max() <= 1
    lengths = [np.linalg.norm(d.ravel()) for d in moved]
    assert result.stats['attack/step_norm'].item() == pytest.approx(np.mean(lengths), rel=1e-4)
    assert objective(result.images) > before
    if not settings.get('random_start'):
        assert result.stats['attack/objective_before'].item() == pytest.approx(before)


@TABLE
def test_one_objective_call_per_step(images, objective, settings):
    result = PixelAttack(**settings)(images, objective)
    assert objective.calls == settings['steps']
    assert result.reconstruction is None and result.changed is None
    assert all(value.ndim == 0 and not value.requires_grad for value in result.stats.values())


@TABLE
def test_mask_confines_the_attack(images, objective, mask, settings):
    padded = torch.where(mask, images, -2.5)
    result = PixelAttack(**settings)(padded, objective, mask)
    moved = result.images != padded
    assert not moved.masked_select(~mask).any()
    assert moved[1, :, :20, :25].any()


def test_l2_step_has_its_full_length_inside_the_mask(objective, mask):
    images = torch.full((3, 3, 36, 44), 0.5)
    result = PixelAttack('L2', 0.3, 0.3, 1)(images, objective, mask)
    assert (result.images - images).flatten(1).norm(dim=1).tolist() == pytest.approx([0.3] * 3)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@TABLE
def test_non_finite_batch_comes_back_clean(images, objective, settings, value):
    result = PixelAttack(**settings)(images, lambda x: objective(x) * value)
    assert torch.equal(result.images, images)
    assert result.stats['attack/skipped'] == 1
    assert objective.calls == settings['steps']


def test_random_numbers_are_the_attacks_own(images, objective):
    attack = PixelAttack('Linf', 0.1, 0.01, 1, random_start=0.5)
    global_state = torch.get_rng_state()

    def run(count):
        return torch.stack([attack(images, objective).images for _ in range(count)])

    attack.seed(7)
    first = run(4)
    attack.seed(7)
    assert torch.equal(run(4), first)
    attack.seed(8)
    assert not torch.equal(run(4), first)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_random_start_is_drawn_once_per_batch_with_its_probability(images, objective):
    attack = PixelAttack('L2', 0.1, 0.0, 1, random_start=0.8)
    moved = [attack(images, objective).images.ne(images).flatten(1).any(1) for _ in range(100)]
    assert all(m.all() or not m.any() for m in moved)
    assert 70 <= sum(m.all().item() for m in moved) <= 90


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(norm='raw'), 'norm'),
        (dict(norm='l2'), "'l2'"),
        (dict(eps=None), 'eps'),
        (dict(eps=-1.0), 'eps'),
        (dict(alpha=-0.1), 'step size'),
        (dict(alpha=float('nan')), 'step size'),
        (dict(steps=0), 'steps'),
        (dict(steps=1.5), 'steps'),
        (dict(random_start=1.5), 'random_start'),
        (dict(loss_scale=1000.0), 'loss_scale'),
        (dict(loss_scale=0.0), 'loss_scale'),
    ],
)
def test_bad_settings_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        PixelAttack(**(FGSM | change))


@pytest.mark.parametrize(
    'images, mask',
    [
        (torch.rand(3, 8, 8), None),
        (torch.rand(1, 1, 8, 8), None),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), None),
        (torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8)),
        (torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool)),
    ],
    ids=['no batch', 'gray', 'uint8', 'float mask', 'mask shape'],
)
def test_ill_shaped_input_is_named(images, mask):
    found = images if mask is None else mask
    with pytest.raises(ValueError, match=str(tuple(found.shape)).replace('(', r'\(')[:-1]):
        PixelAttack(**FGSM)(images, lambda x: x.sum(), mask)
