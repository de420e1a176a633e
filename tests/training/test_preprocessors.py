import copy

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn
from torch.utils.checkpoint import checkpoint

from projects.dat.attacks import DetAdvPropAttack, DiscreteAttack, PixelAttack
from projects.dat.runtime.errors import UserError
from projects.dat.training import (
    AdversarialDetDataPreprocessor,
    Adversary,
    SplitBN,
)
from projects.dat.training.adversary import total_loss
from tests.training.toy_detector import (
    OPTIONS,
    IdentityTokenizer,
    batch,
    make,
    toy_tokenizer,
)


def test_concat_puts_the_adversarial_batch_behind_the_clean_one():
    model, adversary = make()
    data = batch((64, 64), (64, 64))
    expected = batch((64, 64), (64, 64))
    plain = model.data_preprocessor.plain(data)
    out = model.data_preprocessor(batch((64, 64), (64, 64)), training=True)
    assert torch.equal(out['inputs'][:2], plain['inputs'])
    assert out['inputs'].shape == (4, 3, 64, 64)
    assert (out['inputs'][2:] != plain['inputs']).float().mean() > 0.9
    samples = out['data_samples']
    assert len(samples) == 4 and len({id(s.gt_instances) for s in samples}) == 4
    for sample in samples:  # not those that the attack's forward pass doubled
        before = expected['data_samples'][0].gt_instances.bboxes
        assert torch.equal(sample.gt_instances.bboxes, before)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(bgr_to_rgb=False),
        dict(mean=None, std=None),
        dict(mean=None, std=None, bgr_to_rgb=False, pad_value=114),
        dict(mean=[127.5], std=[127.5], pad_value=114),
        dict(pad_size_divisor=1),
        dict(batch_augments=[dict(type='BatchFixedSizePad', size=(96, 128))]),
        dict(batch_augments=[dict(type='BatchResize', scale=(80, 100), pad_size_divisor=8)]),
        dict(boxtype2tensor=False),
    ],
    ids=lambda options: ' '.join(options) or 'as is',
)
def test_a_step_of_zero_through_an_identity_gives_the_plain_batch_twice(options):
    """Bit for bit in the clean half and in the padding, up to rounding in the adversarial half."""
    model, adversary = make(DiscreteAttack(IdentityTokenizer(), alpha=0.0), **options)
    shown = []
    model.conv.register_forward_pre_hook(lambda module, args: shown.append(args[0].detach()))
    shapes = [(40, 64), (64, 33)]
    plain = DetDataPreprocessor(**{**OPTIONS, **options})(batch(*shapes), training=True)
    adversary.keep_result = True
    out = model.data_preprocessor(batch(*shapes), training=True)
    clean, adversarial = out['inputs'].chunk(2)
    assert torch.equal(clean, plain['inputs'])
    torch.testing.assert_close(adversarial, clean, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(shown[0], clean, rtol=1e-5, atol=1e-4)
    for i, sample in enumerate(plain['data_samples']):
        height, width = sample.img_shape
        for images in (adversarial, shown[0]):
            assert torch.equal(images[i, :, height:], clean[i, :, height:])
            assert torch.equal(images[i, :, :, width:], clean[i, :, :, width:])
    images, *_ = adversary.kept
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    for ours, theirs in zip(out['data_samples'], 2 * plain['data_samples'], strict=True):
        assert ours.metainfo == theirs.metainfo
        assert torch.equal(ours.gt_instances.bboxes, theirs.gt_instances.bboxes)


def test_adversarial_images_are_the_attacks():
    """The attack sees RGB in 0..1, and its result arrives normalized."""
    model, adversary = make()
    adversary.keep_result = True
    out = model.data_preprocessor(batch((64, 64)), training=True)
    images, _, _, result = adversary.kept
    assert torch.allclose(images[0], batch((64, 64))['inputs'][0].flip(0) / 255, atol=1e-6)
    mean, std = (torch.tensor(OPTIONS[k]).view(3, 1, 1) for k in ('mean', 'std'))
    expected = (result.images * 255 - mean) / std
    torch.testing.assert_close(out['inputs'][1:], expected)
    assert not adversary.keep_result


def test_replace_gives_the_adversarial_batch_alone():
    both, adversary = make()
    alone, other = make(assembly='replace')
    expected = both.data_preprocessor(batch((64, 64)), training=True)['inputs'][1:]
    out = alone.data_preprocessor(batch((64, 64)), training=True)
    assert torch.equal(out['inputs'], expected)
    assert len(out['data_samples']) == 1


@pytest.mark.parametrize('pad_value', [0, 114])
def test_padding_stays_exactly_as_it_came(pad_value):
    model, _ = make(pad_value=pad_value)
    out = model.data_preprocessor(batch((40, 64), (64, 33)), training=True)['inputs']
    assert out.shape == (4, 3, 64, 64)
    for half in (out[:2], out[2:]):
        assert (half[0, :, 40:] == pad_value).all()
        assert (half[1, :, :, 33:] == pad_value).all()
    assert (out[2, :, :40] != out[0, :, :40]).any()


@pytest.mark.parametrize('shapes', [[(64, 64)], [(30, 41)], [(64, 64), (10, 50), (33, 7)]])
@pytest.mark.parametrize('boxes', [0, 2])
def test_any_batch(shapes, boxes):
    model, adversary = make()
    out = model.data_preprocessor(batch(*shapes, boxes=boxes), training=True)
    assert len(out['inputs']) == len(out['data_samples']) == 2 * len(shapes)
    assert out['inputs'].isfinite().all()
    assert adversary.stats['attack/skipped'] == 0


@pytest.mark.parametrize(
    'attack', [None, PixelAttack('Linf', eps=8 / 255, alpha=2 / 255, steps=2)]
)
def test_the_attack_leaves_no_trace(attack):
    model, _ = make(attack)
    state = copy.deepcopy(model.state_dict())
    flags = [p.requires_grad for p in model.parameters()]
    data = batch((64, 64), (64, 48))
    rng = torch.get_rng_state()
    model.data_preprocessor(data, training=True)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert model.training and model.norm.training and model.drop.training
    assert torch.equal(torch.get_rng_state(), rng)


def test_outside_training_it_is_a_plain_preprocessor():
    model, _ = make()
    model.data_preprocessor.unbind()
    out = model.data_preprocessor(batch((40, 64)), training=False)
    assert out['inputs'].shape == (1, 3, 64, 64)


def test_training_without_an_attack_raises():
    model, _ = make()
    model.data_preprocessor.unbind()
    with pytest.raises(UserError, match='AdversarialRunner'):
        model.data_preprocessor(batch((64, 64)), training=True)


def test_copies_of_the_model_do_not_copy_the_tokenizer():
    model, adversary = make()
    twin = copy.deepcopy(model)
    assert twin.data_preprocessor.adversary is adversary
    assert not any('tokenizer' in key or 'codebook' in key for key in model.state_dict())
    assert len(list(model.modules())) == len(list(twin.modules()))


@pytest.mark.parametrize(
    'pattern, names',
    [
        ('loss', ['loss_cls', 'loss_bbox']),
        ('cls', ['loss_cls']),
        ('bbox|iou', ['loss_bbox']),
    ],
)
def test_attacked_losses(pattern, names):
    losses = dict(
        loss_cls=[torch.tensor(1.0), torch.tensor([2.0, 4.0])],
        loss_bbox=torch.tensor(8.0),
        accuracy=torch.tensor(99.0),
    )
    expected = dict(loss_cls=4.0, loss_bbox=8.0)
    assert total_loss(losses, pattern) == sum(expected[name] for name in names)


@pytest.mark.parametrize(
    'attack, option',
    [
        (PixelAttack('Linf', 0.1, 0.1, 1), 'adversarial.losses'),
        (DetAdvPropAttack(classification='centerness'), 'adversarial.attack.classification'),
        (DetAdvPropAttack(box='centerness'), 'adversarial.attack.box'),
    ],
)
def test_a_pattern_without_a_match_names_the_losses_and_its_option(attack, option):
    model, adversary = make(attack)
    adversary.losses = 'centerness'
    with pytest.raises(UserError, match=f'loss_cls, loss_bbox, accuracy: set {option} to'):
        model.data_preprocessor(batch((64, 64)), training=True)


@pytest.mark.parametrize('split, route', [('shared', 'main'), ('aux', 'aux')])
def test_the_attack_goes_through_the_right_batch_norm(split, route):
    routes = []

    class Recording(SplitBN):
        def forward(self, x):
            routes.append((self.route, len(x)))
            return super().forward(x)

    model, adversary = make(norm=lambda c: Recording(c, split=split))
    model.data_preprocessor(batch((64, 64)), training=True)
    assert routes == [(route, 1)]
    assert (model.norm.route, model.norm.sizes) == ('split', (1, 1))
    adversary.release()
    assert model.norm.route == 'main'


def test_a_loss_that_is_not_finite_leaves_the_reconstruction():
    model, adversary = make()
    model.conv.bias.data.fill_(float('nan'))
    adversary.keep_result = True
    out = model.data_preprocessor(batch((64, 64)), training=True)
    images, _, _, result = adversary.kept
    assert adversary.stats['attack/skipped'] == 1
    assert torch.equal(result.images, result.reconstruction)
    assert out['inputs'].isfinite().all()


def test_bf16_autocast():
    model, adversary = make()
    with torch.autocast('cpu', torch.bfloat16):
        out = model.data_preprocessor(batch((64, 64)), training=True)
    assert out['inputs'].dtype == torch.float32
    assert adversary.stats['attack/skipped'] == 0
    assert adversary.stats['attack/token_change'] > 0


def test_activation_checkpoints_are_off_in_the_attack():
    """MMDetection makes them in a way that refuses torch.autograd.grad."""

    class Checkpointed(nn.Module):
        with_cp = True

        def __init__(self, channels):
            super().__init__()
            self.norm = nn.BatchNorm2d(channels)

        def forward(self, x):
            settings.append(self.with_cp)
            return checkpoint(self.norm, x, use_reentrant=True) if self.with_cp else self.norm(x)

    settings = []
    model, adversary = make(norm=Checkpointed)
    out = model.data_preprocessor(batch((64, 64)), training=True)
    model(out['inputs'], out['data_samples'], mode='loss')
    assert settings == [False, True]


@pytest.mark.parametrize(
    'options, named', [(dict(assembly='mix'), "got 'mix'"), (dict(share=0), 'got 0'),
                       (dict(share=1.5), 'got 1.5')]
)
def test_bad_settings_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        AdversarialDetDataPreprocessor(**options)


@pytest.mark.parametrize('share, attacked', [(1.0, 4), (0.5, 2), (0.3, 1), (0.01, 1)])
@pytest.mark.parametrize('assembly', ['concat', 'replace'])
@pytest.mark.parametrize('split', ['shared', 'clean', 'aux'])
def test_a_share_of_the_batch_is_attacked(assembly, share, attacked, split):
    """What it claims: the last images, attacked as a batch of their own, and batch norms that know
    where the clean part ends.
    """
    seen = []

    class Recording(PixelAttack):
        def __call__(self, images, objective, mask=None):
            seen.append(images)
            return super().__call__(images, objective, mask)

    attack = Recording('Linf', 8 / 255, 8 / 255, 1)
    shapes = [(64, 64), (40, 64), (64, 64), (64, 50)]
    model, adversary = make(
        attack, assembly, share=share, norm=lambda c: SplitBN(c, split=split)
    )
    model.drop.p = 0.0
    data = batch(*shapes)
    for i, sample in enumerate(data['data_samples']):
        sample.gt_instances.bboxes += i
    plain = model.data_preprocessor.plain(copy.deepcopy(data))
    out = model.data_preprocessor(copy.deepcopy(data), training=True)
    assert len(seen[0]) == attacked

    # The same attack on the last images alone, through the model as it is.
    alone, _ = make(attack, 'replace', norm=lambda c: SplitBN(c, split=split))
    alone.load_state_dict(model.state_dict())
    alone.drop.p = 0.0
    last = {key: value[-attacked:] for key, value in copy.deepcopy(data).items()}
    adversarial = alone.data_preprocessor(last, training=True)['inputs']
    clean = plain['inputs'] if assembly == 'concat' else plain['inputs'][: 4 - attacked]
    assert torch.equal(out['inputs'], torch.cat([clean, adversarial]))
    order = [0, 1, 2, 3] + ([0, 1, 2, 3][-attacked:] if assembly == 'concat' else [])
    boxes = [sample.gt_instances.bboxes for sample in out['data_samples']]
    for box, i in zip(boxes, order, strict=True):
        assert torch.equal(box, data['data_samples'][i].gt_instances.bboxes)

    # The training pass normalizes clean and adversarial images as two passes would.
    if split == 'aux' and not len(clean):
        return
    found = model.norm(model.conv(out['inputs']))
    parts = [model.conv(part) for part in (clean, adversarial) if len(part)]
    twice = [torch.nn.functional.batch_norm(x, None, None, training=True) for x in parts]
    torch.testing.assert_close(found, torch.cat(twice), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('rgb', [True, False])
@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('value, side', [(114, 'right'), ((10, 20, 30), 'bottom'), (0, 'left')])
def test_padding_by_a_pipeline_stays_as_it_came_and_counts_in_nothing(rgb, normalize, value, side):
    options = dict(OPTIONS, bgr_to_rgb=rgb)
    if not normalize:
        options.update(mean=None, std=None)
    attack = DiscreteAttack(toy_tokenizer(), alpha=25.0)
    model, adversary = make(attack, pad_values=[value], **options)
    data = batch((64, 64), (64, 64))
    whole = slice(None)
    area = dict(right=(whole, slice(40, None)), bottom=(slice(24, None), whole),
                left=(whole, slice(0, 17)))[side]
    pixels = torch.tensor(value if isinstance(value, tuple) else [value] * 3, dtype=torch.uint8)
    data['inputs'][1].permute(1, 2, 0)[area] = pixels
    adversary.keep_result = True
    out = model.data_preprocessor(data, training=True)['inputs']
    _, mask, _, result = adversary.kept
    inside = torch.ones(64, 64, dtype=torch.bool)
    inside[area] = False
    assert mask[0].all() and torch.equal(mask[1, 0], inside)
    padding = ~inside.expand(3, 64, 64)
    assert torch.equal(out[3][padding], out[1][padding])
    assert (out[3] != out[1]).any()
    whole = inside.unfold(0, 8, 8).unfold(1, 8, 8).flatten(2).any(2)
    assert not result.changed[1][~whole].any() and result.changed[1].any()


def test_the_objective_of_one_image_is_its_own():
    found = {}

    class Asking(PixelAttack):
        def __call__(self, images, objective, mask=None):
            for i in range(len(images)):
                found[i] = objective(images[i : i + 1], losses='bbox', index=i)
            return super().__call__(images, objective, mask)

    model, _ = make(Asking('Linf', 0.01, 0.01, 1))
    model.drop.p = 0.0
    data = batch((64, 64), (48, 64))
    data['data_samples'][1].gt_instances.bboxes *= 30
    model.data_preprocessor(copy.deepcopy(data), training=True)
    inputs = model.data_preprocessor.plain(data)
    for i, loss in found.items():
        alone = inputs['inputs'][i : i + 1], copy.deepcopy(inputs['data_samples'][i : i + 1])
        assert loss.item() == pytest.approx(model(*alone, 'loss')['loss_bbox'].item(), rel=1e-4)
    assert found[1] > 1.5 * found[0]


def test_images_that_a_pipeline_has_normalized_already_are_refused():
    model, _ = make(mean=None, std=None)
    data = batch((64, 64))
    data['inputs'] = [(image.float() - 120) / 58 for image in data['inputs']]
    with pytest.raises(UserError, match='expected images in 0..255'):
        model.data_preprocessor(data, training=True)


def test_a_share_leaves_a_clean_image():
    """Batch norms of kind 'clean' and 'aux' would otherwise see none."""
    model, _ = make(assembly='replace', share=0.8, norm=lambda c: SplitBN(c, split='clean'))
    model.data_preprocessor(batch((64, 64), (64, 64)), training=True)
    assert model.norm.sizes == (1, 1)


def test_plain_batches_of_a_model_in_training_mode_are_plain_after_a_step():
    model, _ = make(norm=lambda c: SplitBN(c, split='clean'))
    model.data_preprocessor(batch((64, 64)), training=True)
    data = model.data_preprocessor(batch((64, 64), (64, 64), (64, 64)), training=False)
    assert model(**data, mode='loss') and model.norm.route == 'main'


def test_mmengines_activation_checkpoints_are_off_in_the_attack():
    model, adversary = make()
    turn_on_activation_checkpointing(model, ['norm'])
    wrapped = model.norm.forward
    adversary = Adversary(adversary.attack, model)
    model.data_preprocessor.bind(adversary)
    out = model.data_preprocessor(batch((64, 64)), training=True)
    assert model.norm.forward is wrapped and adversary.stats['attack/skipped'] == 0
    assert model(**out, mode='loss')
