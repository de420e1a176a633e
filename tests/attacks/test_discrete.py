import numpy as np
import pytest
import torch
from torch import nn

from projects.dat.attacks import DiscreteAttack, PixelAttack, TokenChangeController

ALGORITHM_1 = dict(variant='paper', norm='L2', alpha=0.5)
VARIANTS = pytest.mark.parametrize('variant', ['paper', 'released'])


def recompute(tokenizer, objective, images, variant, norm, alpha, eps=None, steps=1):
    """The attack from its published description, image by image in float64."""
    base = images if variant == 'paper' else tokenizer.reconstruct(images)
    point = base.clone()
    for _ in range(steps):
        seen = tokenizer.reconstruct(point) if variant == 'paper' else point
        gradients = objective.gradient(seen)
        for i, g in enumerate(gradients):
            step = {'L2': g / np.linalg.norm(g), 'Linf': np.sign(g), 'raw': g}[norm] * alpha
            origin = base[i].double().numpy()
            delta = point[i].double().numpy() - origin + step
            if eps is not None and norm == 'Linf':
                delta = np.clip(delta, -eps, eps)
            elif eps is not None:
                delta *= min(1, eps / np.linalg.norm(delta))
            point[i] = torch.from_numpy(np.clip(origin + delta, 0, 1))
    return point, tokenizer.tokenize(point)


def test_residual_images_differ_from_the_input_by_the_change_of_tokens_alone(
    tokenizer, images, objective
):
    """The gradient is that at x itself, and D(z) is decoded once."""
    point = images.clone()
    for i, g in enumerate(objective.gradient(images)):
        step = torch.from_numpy(g / np.linalg.norm(g) * 0.5)
        point[i] = (images[i].double() + step).clamp(0, 1)
    tokens, moved = tokenizer.tokenize(images), tokenizer.tokenize(point)
    decoded = [tokenizer.detokenize(found, (36, 44)) for found in (tokens, moved)]
    objective.calls = tokenizer.encoded = tokenizer.decoded = 0
    result = DiscreteAttack(tokenizer, alpha=0.5, residual=True)(images, objective)
    assert (objective.calls, tokenizer.encoded, tokenizer.decoded) == (1, 2, 2)
    assert torch.equal(result.changed, moved != tokens) and result.changed.any()
    expected = (images + decoded[1] - decoded[0]).clamp(0, 1)
    assert torch.allclose(result.images, expected, atol=1e-6)
    assert torch.equal(result.reconstruction, images)
    still = DiscreteAttack(tokenizer, alpha=0.0, residual=True)(images, objective)
    assert torch.allclose(still.images, images, atol=1e-6) and not still.changed.any()
    with pytest.raises(ValueError, match='residual'):
        DiscreteAttack(tokenizer, variant='released', alpha=0.1, residual=True)


@pytest.mark.parametrize(
    'settings',
    [
        ALGORITHM_1,
        dict(variant='paper', norm='Linf', alpha=0.02),
        dict(variant='paper', norm='raw', alpha=1e-4),
        dict(variant='paper', norm='L2', alpha=0.5, steps=3),
        dict(variant='paper', norm='L2', alpha=0.5, steps=3, eps=0.8),
        dict(variant='paper', norm='raw', alpha=1e-4, steps=2, eps=0.3),
        dict(variant='released', norm='L2', alpha=0.5, eps=0.5),
        dict(variant='released', norm='L2', alpha=0.5, eps=0.8, steps=3),
        dict(variant='released', norm='Linf', alpha=0.02, eps=0.03, steps=2),
    ],
    ids=lambda s: '-'.join(map(str, s.values())),
)
def test_attack_is_the_published_algorithm(tokenizer, images, objective, settings):
    point, tokens = recompute(tokenizer, objective, images, **settings)
    clean = tokenizer.tokenize(images)
    tokenizer.encoded = tokenizer.decoded = 0
    result = DiscreteAttack(tokenizer, **settings)(images, objective)

    steps = settings.get('steps', 1)
    passes = 1 + (steps if settings['variant'] == 'paper' else 1)
    assert (objective.calls, tokenizer.encoded, tokenizer.decoded) == (steps, passes, passes)

    assert torch.equal(result.images, tokenizer.detokenize(tokens, (36, 44)))
    assert torch.equal(result.reconstruction, tokenizer.reconstruct(images))
    assert torch.equal(result.changed, tokens != clean) and result.changed.any()
    share = np.mean(tokens.numpy() != clean.numpy())
    base = images if settings['variant'] == 'paper' else result.reconstruction
    lengths = (point - base).double().flatten(1).norm(dim=1)
    expected = {
        'attack/token_change': share,
        'attack/objective_before': objective(result.reconstruction).item(),
        'attack/step_norm': lengths.mean().item(),
        'attack/alpha': settings['alpha'],
        'attack/skipped': 0,
    }
    assert result.stats.keys() == expected.keys()
    for key, value in result.stats.items():
        assert value.ndim == 0 and value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[key], rel=1e-4), key


def test_defaults_are_algorithm_1_with_a_normalised_step():
    attack = DiscreteAttack(tokenizer=None)
    assert (attack.variant, attack.alpha, attack.steps, attack.eps) == ('paper', None, 1, None)
    assert attack.controller.target == 0.038 and attack.direction == 'gradient'
    assert attack.perturbation.step(torch.ones(1, 3, 2, 2), 1.0).norm().item() == pytest.approx(1)


def test_alpha_zero_changes_no_token_in_the_paper_and_some_in_the_released_code(
    tokenizer, images, objective
):
    paper = DiscreteAttack(tokenizer, 'paper', alpha=0.0)(images, objective)
    assert paper.stats['attack/token_change'] == 0 and not paper.changed.any()
    assert torch.equal(paper.images, tokenizer.reconstruct(images))
    released = DiscreteAttack(tokenizer, 'released', alpha=0.0)(images, objective)
    twice = tokenizer.reconstruct(tokenizer.reconstruct(images))
    assert torch.equal(released.images, twice) and released.changed.any()


@VARIANTS
def test_each_image_is_attacked_as_if_alone(tokenizer, images, variant):
    weight = torch.randn(3, 36, 44, generator=torch.Generator().manual_seed(4))
    attack = DiscreteAttack(tokenizer, variant, alpha=0.5)
    batch = attack(images, lambda x: (x * weight).sum())
    alone = attack(images[:1], lambda x: (x * weight).sum())
    assert alone.images.shape == (1, 3, 36, 44)
    assert torch.equal(alone.images, batch.images[:1])
    assert torch.equal(alone.changed, batch.changed[:1])


@VARIANTS
def test_mask_keeps_pixels_and_counts_only_allowed_tokens(
    tokenizer, images, objective, mask, variant
):
    padded = torch.where(mask, images, -2.5)
    seen = []

    def recorded(x):
        seen.append(x.detach())
        return objective(x)

    result = DiscreteAttack(tokenizer, variant, alpha=0.5)(padded, recorded, mask)
    for shown in (result.images, result.reconstruction, *seen):
        assert torch.equal(shown.masked_select(~mask), padded.masked_select(~mask))
        assert not torch.equal(shown, padded)
    allowed = torch.ones(3, 5, 6, dtype=torch.bool)
    allowed[1, 3:] = False
    allowed[1, :, 4:] = False
    assert result.changed[allowed].any() and not result.changed[~allowed].any()
    share = result.changed.sum().item() / allowed.sum().item()
    assert result.stats['attack/token_change'].item() == pytest.approx(share)


def test_the_step_is_as_long_as_the_masks_part_of_the_frame_allows(tokenizer, objective, mask):
    images = torch.full((3, 3, 36, 44), 0.5)
    result = DiscreteAttack(tokenizer, alpha=0.3)(images, objective, mask)
    expected = 0.3 * mask.double().mean(dim=(1, 2, 3)).sqrt().mean().item()
    assert result.stats['attack/step_norm'].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('steps', [1, 3])
@pytest.mark.parametrize('what', ['loss nan', 'loss inf', 'gradient nan'])
@VARIANTS
def test_non_finite_batch_becomes_its_reconstruction(
    tokenizer, images, objective, variant, what, steps
):
    def broken(x):
        loss = objective(x)
        if what == 'gradient nan':
            return loss + (x[0, 0, 0, 0] * 0).sqrt()
        return loss * (float('nan') if what == 'loss nan' else float('inf'))

    controller = TokenChangeController(alpha=0.5) if variant == 'paper' else None
    alpha = None if controller else 0.5
    attack = DiscreteAttack(tokenizer, variant, alpha=alpha, steps=steps, controller=controller)
    result = attack(images, broken)
    assert torch.equal(result.images, tokenizer.reconstruct(images))
    assert result.stats['attack/skipped'] == 1 and result.stats['attack/token_change'] == 0
    assert objective.calls == steps
    assert controller is None or controller.alpha(images.device).item() == pytest.approx(0.5)
    assert attack(images, objective).stats['attack/skipped'] == 0


def test_only_the_last_of_several_steps_being_non_finite_counts_too(tokenizer, images, objective):
    def broken(x):
        return objective(x) * (float('nan') if objective.calls == 2 else 1)

    result = DiscreteAttack(tokenizer, alpha=0.5, steps=3)(images, broken)
    assert result.stats['attack/skipped'] == 1
    assert torch.equal(result.images, tokenizer.reconstruct(images))


def test_the_first_gradient_is_taken_at_the_random_start(tokenizer, images, objective):
    seen = []

    def recorded(x):
        seen.append(x.detach())
        return objective(x)

    attack = DiscreteAttack(tokenizer, 'released', alpha=0.1, eps=0.3, random_start=1.0)
    result = attack(images, recorded)
    lengths = (seen[0] - result.reconstruction).flatten(1).norm(dim=1)
    assert (lengths > 0.2).all() and (lengths < 0.3 + 1e-6).all()


@pytest.mark.parametrize(
    'settings',
    [dict(variant='released', eps=1.0, random_start=0.5), dict(direction='random')],
    ids=['random start', 'random direction'],
)
def test_random_numbers_repeat_with_the_seed(tokenizer, images, objective, settings):
    def run(attack):
        return torch.stack([attack(images, objective).images for _ in range(5)])

    global_state = torch.get_rng_state()
    attack, other = (DiscreteAttack(tokenizer, alpha=0.3, **settings) for _ in range(2))
    attack.seed(3)
    other.seed(4)
    first = run(attack)
    assert not torch.equal(run(other), first)
    other.seed(3)
    assert torch.equal(run(other), first)
    assert torch.equal(torch.get_rng_state(), global_state)


@VARIANTS
@pytest.mark.parametrize('norm', ['L2', 'Linf'])
def test_a_random_direction_is_the_same_step_without_the_model(
    tokenizer, images, objective, mask, variant, norm
):
    alpha = {'L2': 0.8, 'Linf': 0.02}[norm]
    attack = DiscreteAttack(tokenizer, variant, norm, alpha=alpha, direction='random')
    images = 0.25 + images / 2
    result = attack(images, objective, mask)
    assert objective.calls == 0 and 'attack/objective_before' not in result.stats
    assert result.changed.any() and result.stats['attack/skipped'] == 0
    assert torch.equal(result.images.masked_select(~mask), images.masked_select(~mask))
    part = mask.double().mean(dim=(1, 2, 3))
    lengths = alpha * part.sqrt() if norm == 'L2' else alpha * (part * 3 * 36 * 44).sqrt()
    length = result.stats['attack/step_norm'].item()
    assert length == pytest.approx(lengths.mean().item(), rel=1e-3)


@pytest.mark.parametrize('variant, settings', [
    ('paper', dict(controller=TokenChangeController(target=0.9))),
    ('paper', dict(alpha=3.0)),
    ('paper', dict(alpha=0.4, steps=5)),
    ('paper', dict(alpha=3.0, direction='random')),
    ('released', dict(alpha=3.0)),
])
@pytest.mark.parametrize('norm, eps', [('L2', 0.3), ('Linf', 0.01)])
def test_eps_bounds_every_perturbation(tokenizer, images, objective, variant, settings, norm, eps):
    attack = DiscreteAttack(tokenizer, variant, norm, eps, **settings)
    encoded = []
    tokenize = tokenizer.tokenize
    tokenizer.tokenize = lambda x: encoded.append(x) or tokenize(x)
    for _ in range(4):
        encoded.clear()
        result = attack(images, objective)
        base = images if variant == 'paper' else result.reconstruction
        moved = (encoded[-1] - base).double().flatten(1)
        size = moved.norm(dim=1) if norm == 'L2' else moved.abs().amax(dim=1)
        assert (size <= eps * (1 + 1e-4)).all() and (size > 0).all()


def test_a_fresh_attack_changes_the_published_share_at_once(tokenizer, objective):
    generator = torch.Generator().manual_seed(0)
    for side in (64, 160):
        images = torch.rand(4, 3, side, side, generator=generator)
        weight = torch.randn(3, side, side, generator=generator)
        attack = DiscreteAttack(tokenizer)
        result = attack(images, lambda x, weight=weight: (x * weight).sum())
        assert result.stats['attack/token_change'].item() == pytest.approx(0.038, abs=0.01)
        assert attack.controller.calibrated


def test_a_first_batch_that_is_skipped_calibrates_nothing(tokenizer, images, objective):
    attack = DiscreteAttack(tokenizer)
    attack(images, lambda x: objective(x) * float('nan'))
    assert attack.controller.alpha(images.device) == 1.0


def test_a_controllers_state_goes_on(tokenizer, images, objective):
    attack, restored = DiscreteAttack(tokenizer), DiscreteAttack(tokenizer)
    first, second = attack(images, objective), attack(images, objective)
    assert first.stats['attack/alpha'] != second.stats['attack/alpha']
    restored.load_state_dict(attack.state_dict())
    ours, theirs = attack(images, objective), restored(images, objective)
    assert torch.equal(ours.stats['attack/alpha'], theirs.stats['attack/alpha'])


def test_controller_brings_a_tokenizer_to_the_target(tokenizer):
    generator = torch.Generator().manual_seed(0)
    attack = DiscreteAttack(tokenizer, controller=TokenChangeController(alpha=0.01))
    changes = []
    for _ in range(90):
        images = torch.rand(2, 3, 40, 40, generator=generator)
        weight = torch.randn(3, 40, 40, generator=generator)
        result = attack(images, lambda x, weight=weight: (x * weight).sum())
        changes.append(result.stats['attack/token_change'].item())
    assert np.mean(changes[30:]) == pytest.approx(0.038, rel=0.15)


@VARIANTS
def test_objective_runs_in_the_callers_autocast_and_the_tokenizer_in_its_own_precision(
    tokenizer, images, variant
):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 4, stride=4)
    types = []

    def objective(x):
        out = layer(x)
        types.append(out.dtype)
        return out.square().mean()

    attack = DiscreteAttack(tokenizer, variant, alpha=0.5)
    with torch.autocast('cpu', torch.bfloat16):
        result = attack(images, objective)
    assert types == [torch.bfloat16]
    assert result.images.dtype == torch.float32 and result.stats['attack/skipped'] == 0
    assert result.stats['attack/step_norm'] > 0
    assert layer.weight.grad is None and not result.images.requires_grad


def test_half_of_a_controller_is_refused(tokenizer):
    plain, controlled = DiscreteAttack(tokenizer, alpha=0.1), DiscreteAttack(tokenizer)
    for attack, other in ((plain, controlled), (controlled, plain)):
        with pytest.raises(ValueError, match='controller'):
            attack.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    'settings, named',
    [
        (dict(variant='easy'), "'easy'"),
        (dict(norm='L1'), "'L1'"),
        (dict(random_start=0.8, eps=0.1), 'released'),
        (dict(variant='released', random_start=0.8), 'eps'),
        (dict(alpha=-0.1), 'step size'),
        (dict(steps=0), 'steps'),
        (dict(alpha=0.1, controller=TokenChangeController()), 'leave one out'),
        (dict(direction='up'), "'up'"),
        (dict(eps=-1.0), 'eps'),
        (dict(variant='released', controller=TokenChangeController()), 'fixed alpha'),
    ],
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        DiscreteAttack(None, **settings)


def test_pixels_of_a_small_image_move_like_those_of_a_whole_one(tokenizer):
    """A quarter of the frame, hence half the L2 step; the reported alpha is the whole frame's."""
    images = torch.full((2, 3, 32, 32), 0.5)
    mask = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    mask[1, :, 16:] = mask[1, :, :, 16:] = False
    attack = DiscreteAttack(tokenizer, alpha=0.8)
    result = attack(images, lambda x: x.sum(), mask)
    # The gradient is 1 everywhere: the two steps are 0.8 and 0.4 long.
    assert result.stats['attack/step_norm'].item() == pytest.approx(0.6, rel=1e-4)
    assert result.stats['attack/alpha'].item() == pytest.approx(0.8)


@pytest.mark.parametrize('scale, shift', [(255, 0), (1, -0.5), (4, -2)])
def test_images_of_another_range_are_refused(tokenizer, images, objective, scale, shift):
    for attack in (DiscreteAttack(tokenizer), PixelAttack('Linf', 0.1, 0.1, 1)):
        attack(images, objective)
        with pytest.raises(ValueError, match='expects images in 0..1, but got values from'):
            attack(images * scale + shift, objective)
