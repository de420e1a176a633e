import re

import numpy as np
import pytest
import torch

from projects.dat.attacks import DetAdvPropAttack


class Losses:
    """Named losses of an image: sums of pixels times a weight pattern, one sign for each image."""

    def __init__(self, images, signs):
        generator = torch.Generator().manual_seed(4)
        self.cls = torch.randn(images.shape[1:], generator=generator)
        self.box = torch.randn(images.shape[1:], generator=generator)
        self.signs = torch.tensor(signs)
        self.calls = []

    def __call__(self, images, losses, index=None):
        self.calls.append((losses, index, torch.is_grad_enabled()))
        signs = self.signs if index is None else self.signs[index:index + 1]
        # The total is dominated by one of the two, which of them is the image's sign.
        weights = {
            'cls': self.cls,
            'box': self.box,
            'loss': 10 * self.cls if (signs > 0).all() else 10 * self.box,
        }
        if losses == 'loss' and index is None:
            mixed = torch.where(signs.view(-1, 1, 1, 1) > 0, self.cls, self.box)
            return (10 * mixed * images).sum() / len(images)
        return (weights[losses] * images).sum() / len(images)


def attack(**options):
    return DetAdvPropAttack(classification='cls', box='box', **options)


def fgsm(images, weight, eps=1 / 255):
    return np.clip(images.numpy() + np.float32(eps) * np.sign(weight.numpy()), 0, 1)


@pytest.mark.parametrize('signs, kept', [([1, 1, 1], 'cls'), ([-1, -1, -1], 'box')])
def test_the_candidate_with_the_larger_total_loss_is_kept(images, signs, kept):
    objective = Losses(images, signs)
    result = attack()(images, objective)
    np.testing.assert_allclose(
        result.images.numpy(), fgsm(images, getattr(objective, kept)), atol=1e-6
    )
    assert result.stats['attack/classification_kept'] == float(kept == 'cls')
    moved = (result.images - images).flatten(1).double().norm(dim=1).mean().item()
    assert result.stats['attack/step_norm'].item() == pytest.approx(moved, rel=1e-4)
    before = objective(images, 'cls') + objective(images, 'box')
    assert result.stats['attack/objective_before'].item() == pytest.approx(before.item(), rel=1e-4)


def test_selection_per_image(images):
    objective = Losses(images, [1, -1, 1])
    result = attack(selection='image')(images, objective)
    from_cls, from_box = fgsm(images, objective.cls), fgsm(images, objective.box)
    expected = np.stack([from_cls[0], from_box[1], from_cls[2]])
    np.testing.assert_allclose(result.images.numpy(), expected, atol=1e-6)
    assert result.stats['attack/classification_kept'].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), [('cls', None, True), ('box', None, True)] + 2 * [('loss', None, False)]),
        (
            dict(steps=2, selection='image'),
            2 * [('cls', None, True)]
            + 2 * [('box', None, True)]
            + 2 * [('loss', i, False) for i in range(3)],
        ),
    ],
)
def test_number_and_kind_of_objective_calls(images, options, expected):
    objective = Losses(images, [1, -1, 1])
    attack(**options)(images, objective)
    assert objective.calls == expected


@pytest.mark.parametrize(
    'names',
    [
        ['loss_cls', 'loss_bbox'],  # EfficientDet, RetinaNet, RTMDet
        ['loss_cls', 'loss_bbox', 'loss_centerness'],  # FCOS
        ['loss_cls', 'loss_bbox', 'loss_dfl'],  # GFL
        ['loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'],  # Faster R-CNN
        ['loss_cls', 'loss_bbox', 'loss_iou', 'd0.loss_cls', 'd0.loss_bbox', 'd0.loss_iou'],  # DINO
    ],
)
def test_default_patterns_part_the_losses_of_mmdetections_heads(names):
    one = DetAdvPropAttack()
    for name in names:
        is_class = bool(re.search(one.classification, name))
        assert is_class == ('cls' in name)
        assert is_class != bool(re.search(one.box, name))


@pytest.mark.parametrize('selection', ['batch', 'image'])
def test_both_candidates_meet_the_same_dropout(images, selection):
    drawn = []

    def objective(x, losses, index=None):
        noise = torch.rand(())
        if losses == 'loss':
            drawn.append(noise.item())
        return x.sum() * (1 + noise)

    attack(selection=selection)(images, objective)
    assert drawn[: len(drawn) // 2] == drawn[len(drawn) // 2 :]


@pytest.mark.parametrize('selection', ['batch', 'image'])
def test_mask_confines_the_attack(images, mask, selection):
    padded = torch.where(mask, images, -2.5)
    result = attack(selection=selection)(padded, Losses(images, [1, 1, -1]), mask)
    moved = result.images != padded
    assert not moved.masked_select(~mask).any()
    assert moved[1, :, :20, :25].any()


@pytest.mark.parametrize('where', ['cls', 'box', 'loss'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('selection', ['batch', 'image'])
def test_a_loss_that_is_not_finite_skips_the_batch(images, where, value, selection):
    inner = Losses(images, [1, 1, 1])

    def objective(x, losses, index=None):
        return inner(x, losses, index) * (value if losses == where else 1)

    result = attack(selection=selection)(images, objective)
    assert torch.equal(result.images, images)
    assert result.stats['attack/skipped'] == 1


def test_random_start_is_the_attacks_own_and_stays_in_the_ball(images):
    options = dict(eps=0.05, alpha=0.02, steps=3, random_start=1.0)
    objective, attacks = Losses(images, [1, 1, 1]), [attack(**options) for _ in range(2)]
    state = torch.get_rng_state()
    for one in attacks:
        one.seed(5)
    first, second = [one(images, objective).images for one in attacks]
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert (first - images).abs().max() <= 0.05 + 1e-6
    assert not torch.equal(attacks[0](images, objective).images, first)


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(norm='raw'), 'norm'),
        (dict(eps=None), 'eps'),
        (dict(selection='pixel'), 'selection'),
        (dict(steps=0), 'steps'),
    ],
)
def test_bad_settings_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        attack(**change)
