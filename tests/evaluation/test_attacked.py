"""Images under attack: what a model sees of them, and what becomes of its figures."""

import copy
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import TestLoop as Loop
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmpretrain.structures import DataSample
from torch import nn

from projects.dat.attacks import DiscreteAttack, PixelAttack, TokenChangeController
from projects.dat.evaluation.attacked import Attacked, under_attack
from projects.dat.evaluation.evaluate import evaluate, identify
from projects.dat.evaluation.ground_truth import loader_for_losses
from projects.dat.evaluation.results import CLEAN
from projects.dat.runtime.errors import UserError
from tests.evaluation.bright_boxes import BrightBoxes, write_case
from tests.training.coco_case import coco_config, write_coco
from tests.training.toy_detector import toy_tokenizer

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
EPS = 4 / 255


# Classifiers.


@pytest.fixture(scope='module')
def classifier():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = CLASSIFIERS.build(dict(
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', mean=MEAN, std=STD, to_rgb=True),
        backbone=dict(type='ResNet', depth=18, num_stages=1, out_indices=(0,), stem_channels=8,
                      base_channels=8, strides=(1,), dilations=(1,)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=8,
                  loss=dict(type='CrossEntropyLoss')),
    ))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    return model.eval()


class FromImages(nn.Module):
    """Logits of RGB images in 0..1, as anyone would write it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
        return self.model.head(self.model.extract_feat((images * 255 - mean) / std))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=generator)
    samples = [
        DataSample(metainfo=dict(img_path=f'class/{i}.png', img_shape=(32, 32))).set_gt_label(i % 5)
        for i in range(6)
    ]
    return dict(inputs=images, data_samples=samples)


def to_images(batch):
    return batch['inputs'].flip(1) / 255  # RGB, 0..1


def seen_by(model, attack, batch, monkeypatch, losses='loss', seed=0, padding=()):
    """The inputs that the model predicts from."""
    seen, predict = [], model.predict

    def watch(inputs, *args, **kwargs):
        seen.append(inputs.clone())
        return predict(inputs, *args, **kwargs)

    monkeypatch.setattr(model, 'predict', watch)
    with torch.no_grad(), under_attack(model, attack, losses, seed, padding):
        model.test_step(copy.deepcopy(batch))
    monkeypatch.undo()
    return seen[0]


def images_seen_by(*args, **kwargs):
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return (seen_by(*args, **kwargs) * std + mean) / 255


def test_fgsm_is_a_step_along_the_sign_of_the_gradient(classifier, batch, monkeypatch):
    images = to_images(batch).requires_grad_()
    F.cross_entropy(FromImages(classifier).eval()(images), torch.arange(6) % 5).backward()
    expected = (images + EPS * images.grad.sign()).clamp(0, 1).detach()
    found = images_seen_by(classifier, PixelAttack('Linf', EPS, EPS, 1), batch, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'attack, reference',
    [
        (PixelAttack('Linf', EPS, EPS, 1), partial(torchattacks.FGSM, eps=EPS)),
        (PixelAttack('Linf', EPS, EPS / 4, 10),
         partial(torchattacks.PGD, eps=EPS, alpha=EPS / 4, steps=10, random_start=False)),
        (PixelAttack('L2', 0.5, 0.2, 5),
         partial(torchattacks.PGDL2, eps=0.5, alpha=0.2, steps=5, random_start=False)),
    ],
    ids=['fgsm', 'pgd', 'pgd-l2'],
)
def test_agreement_with_torchattacks(classifier, batch, monkeypatch, attack, reference):
    expected = reference(FromImages(classifier).eval())(to_images(batch), torch.arange(6) % 5)
    found = images_seen_by(classifier, attack, batch, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_random_starts_follow_from_images_and_seed(classifier, batch, monkeypatch):
    attack = PixelAttack('Linf', EPS, EPS / 4, 1, random_start=1.0)
    runs = [seen_by(classifier, attack, batch, monkeypatch, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(img_path='other/' + sample.img_path))
    assert torch.equal(runs[0], seen_by(classifier, attack, batch, monkeypatch))  # moved, the same
    batch['data_samples'][0].set_metainfo(dict(img_path='class/9.png'))
    assert not torch.equal(runs[0], seen_by(classifier, attack, batch, monkeypatch))


def test_a_discrete_attack_finds_its_step_on_every_batch(classifier, batch, monkeypatch):
    """What came before makes no difference: neither the order of batches nor a restart."""
    attack = DiscreteAttack(toy_tokenizer(), controller=TokenChangeController(0.1))
    first = seen_by(classifier, attack, batch, monkeypatch)
    other = dict(batch, inputs=batch['inputs'] // 4)
    assert not torch.equal(first, seen_by(classifier, attack, other, monkeypatch))
    assert torch.equal(first, seen_by(classifier, attack, batch, monkeypatch))


def test_a_batch_without_finite_loss_is_told(classifier, batch, monkeypatch, caplog):
    forward = type(classifier).forward

    def infinite(self, inputs, data_samples=None, mode='tensor'):
        found = forward(self, inputs, data_samples, mode)
        return dict(loss=found['loss'] * torch.inf) if mode == 'loss' else found

    expected = seen_by(classifier, PixelAttack('Linf', 0.0, 0.0, 1), batch, monkeypatch)
    MMLogger.get_current_instance().addHandler(caplog.handler)
    with monkeypatch.context() as patch:
        patch.setattr(type(classifier), 'forward', infinite)
        attack = PixelAttack('Linf', EPS, EPS, 1)
        with torch.no_grad(), under_attack(classifier, attack, 'loss', 0, ()) as adversary:
            data = classifier.data_preprocessor(copy.deepcopy(batch))
            patch.undo()
            classifier.data_preprocessor(copy.deepcopy(batch))
    means = adversary.means()
    assert means['attack/skipped'] == 0.5 and means['attack/rise'] > 0
    assert torch.equal(data['inputs'], expected)
    MMLogger.get_current_instance().removeHandler(caplog.handler)
    assert '1 batches were not attacked' in caplog.text


# Detectors.


@pytest.fixture(scope='module')
def bright(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp('bright'))


def measure(case, work_dir, attacks, losses='loss', **options):
    """Figures by cell; ``options`` with dots go into the config."""
    cfg = Config.fromfile(case[0])
    cfg.merge_from_dict({
        'load_from': str(case[1]), 'work_dir': str(work_dir), 'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
        **options,
    })
    found = Attacked('pgd', attacks, losses, 0, {})
    identity = identify(cfg, found.data(cfg), 'coco/bbox_mAP')
    return evaluate(cfg, found.trials(cfg), identity, work_dir / 'result.json').cells


def fgsm(eps):
    return PixelAttack('Linf', eps, eps, 1)


def pgd(eps):
    return PixelAttack('Linf', eps, eps / 2, 3, random_start=1.0)


def test_ap_falls_under_attack_and_each_loss_has_its_own(bright, tmp_path):
    attacks = dict(none=fgsm(0.0), fgsm=fgsm(64 / 255), pgd=pgd(64 / 255))
    found = {
        losses: measure(bright, tmp_path / losses, attacks, losses)
        for losses in ('loss', 'cls', 'bbox')
    }
    ap = 'coco/bbox_mAP'
    for cells in found.values():
        unchanged = cells['pgd', 'none'].metrics
        assert unchanged.items() >= cells[CLEAN].metrics.items()
        assert unchanged['attack/rise'] == unchanged['attack/step_norm'] == 0
        for level in ('fgsm', 'pgd'):
            metrics = cells['pgd', level].metrics
            assert metrics[ap] < cells[CLEAN].metrics[ap] - 0.1
            assert metrics['attack/objective_after'] > unchanged['attack/objective_after']
    assert found['cls'] != found['bbox'] != found['loss']


def test_neither_workers_nor_a_restart_change_a_figure(bright, tmp_path, monkeypatch):
    attacks = {level: pgd(level) for level in (0.1, 0.2)}
    two = {'test_dataloader.num_workers': 2}
    expected = measure(bright, tmp_path / 'one', attacks)
    run, calls = Loop.run, []

    def cut(loop):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(loop)

    monkeypatch.setattr(Loop, 'run', cut)
    with pytest.raises(KeyboardInterrupt):
        measure(bright, tmp_path / 'two', attacks, **two)
    assert measure(bright, tmp_path / 'two', attacks, **two) == expected
    assert len(calls) == 4


@DETECTORS.register_module()
class NormedBoxes(BrightBoxes):
    """With a batch norm, for adversarial training to split."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.norm = nn.BatchNorm2d(3)

    def predict(self, batch_inputs, *args, **kwargs):
        return super().predict(self.norm(batch_inputs), *args, **kwargs)

    def loss(self, batch_inputs, *args, **kwargs):
        return super().loss(self.norm(batch_inputs), *args, **kwargs)


def test_a_detector_trained_adversarially_is_evaluated_as_a_plain_one(bright, tmp_path):
    """Its auxiliary batch norms have no part in it, in the attack neither."""
    init_default_scope('mmdet')
    model = NormedBoxes(dict(type='DetDataPreprocessor'))
    model.norm.running_mean.fill_(10)
    model.threshold.data.fill_(105.0)
    plain, split = model.state_dict(), dict(model.state_dict())
    split |= {f'norm.aux.{k[5:]}': v + 5 for k, v in plain.items() if k.startswith('norm.')}
    results = []
    for name, state in (('plain', plain), ('split', split)):
        checkpoint = tmp_path / f'{name}.pth'
        torch.save(dict(state_dict=state, meta={}), checkpoint)
        options = {'model.type': 'NormedBoxes'}
        if name == 'split':
            options |= {
                'runner_type': 'AdversarialRunner',
                'adversarial': dict(split_bn='aux', tokenizer=None,
                                    attack=dict(type='PixelAttack', norm='Linf', eps=0.01,
                                                alpha=0.01, steps=1)),
            }
        results.append(measure((bright[0], checkpoint), tmp_path / name,
                               {52: fgsm(52 / 255)}, **options))
    assert results[0] == results[1]
    assert 0 < results[0]['pgd', 52].metrics['coco/bbox_mAP'] < 1


@pytest.fixture
def retinanet(tmp_path):
    """A detector with random weights, and a batch with padding of both kinds."""
    cfg = coco_config(write_coco(tmp_path / 'data'))
    steps = cfg.test_dataloader.dataset.pipeline
    steps.insert(-1, dict(type='Pad', size=(80, 50), pad_val=dict(img=(114, 114, 114))))
    cfg.model.data_preprocessor.update(mean=MEAN, std=STD, bgr_to_rgb=True)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(loader_for_losses(cfg)['dataset'])
    items = [dataset[i] for i in range(2)]
    return model, {key: [item[key] for item in items] for key in items[0]}


@pytest.mark.parametrize('losses', ['loss', 'cls', 'bbox|iou'])
def test_an_attack_leaves_no_trace_in_a_detector(retinanet, monkeypatch, losses):
    model, batch = retinanet
    preprocessor = model.data_preprocessor

    def state():
        values = {k: v.clone() for k, v in model.state_dict().items()}
        flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
        return values, flags, (torch.get_rng_state().tolist(), random.getstate(),
                               np.random.get_state()[1].tolist())

    before = state()
    clean = model.data_preprocessor(copy.deepcopy(batch))['inputs']
    found = seen_by(model, pgd(EPS), batch, monkeypatch, losses, padding=[(114, 114, 114)])
    after = state()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:] and model.data_preprocessor is preprocessor
    assert all(p.grad is None for p in model.parameters())
    change = (found - clean) * torch.tensor(STD).view(3, 1, 1) / 255
    assert change.shape[2:] == (64, 96)
    assert change[:, :, 43:].eq(0).all() and change[:, :, :, 64:].eq(0).all()
    assert EPS / 2 < change.abs().max() <= EPS + 1e-6
    assert change[:, :, :43, :64].ne(0).float().mean() > 0.5


@pytest.mark.parametrize('losses, names', [('cls', ['loss_cls']), ('bbox|iou', ['loss_bbox']),
                                           ('loss', ['loss_cls', 'loss_bbox'])])
def test_an_attack_climbs_the_losses_that_are_named(retinanet, monkeypatch, losses, names):
    model, batch = retinanet
    data = model.data_preprocessor(copy.deepcopy(batch))

    def total(inputs):
        found = model.loss(inputs, copy.deepcopy(data['data_samples']))
        return sum(term.item() for name in names for term in found[name])

    climbed = seen_by(model, pgd(EPS), batch, monkeypatch, losses, padding=[(114, 114, 114)])
    noise = EPS * 255 * torch.randn_like(climbed).sign() / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        assert total(climbed) > 1.001 * max(total(data['inputs']), total(data['inputs'] + noise))


def test_heads_compute_their_loss_as_in_training(retinanet, monkeypatch):
    """FCOS, RepPoints and DINO hand their loss other values in training than they predict."""
    model, batch = retinanet
    flags = {}

    def forward(inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            flags.update((name, m.training) for name, m in model.named_modules())
        return original(inputs, data_samples, mode)

    original = model.forward
    monkeypatch.setattr(model, 'forward', forward)
    with torch.no_grad(), under_attack(model, fgsm(EPS), 'loss', 0, ()):
        model.data_preprocessor(batch)
    assert {name for name, training in flags.items() if training} == {'', 'bbox_head'}


@pytest.mark.parametrize(
    'error, message',
    [
        (TypeError("missing 'dn_meta'"), "loss of RetinaNet cannot be computed .*dn_meta"),
        (None, 'expected losses of RetinaNet whose gradient reaches the pixels'),
    ],
)
def test_detectors_that_cannot_be_attacked(retinanet, monkeypatch, error, message):
    model, batch = retinanet

    def loss(*args):
        if error:
            raise error
        return dict(loss_cls=[torch.ones(())])

    monkeypatch.setattr(model, 'loss', loss)
    with under_attack(model, fgsm(EPS), 'loss', 0, ()), pytest.raises(UserError, match=message):
        model.test_step(batch)


def test_losses_that_are_not_there(retinanet):
    model, batch = retinanet
    message = "matches 'mask', found loss_cls, loss_bbox: set --losses"
    with under_attack(model, fgsm(EPS), 'mask', 0, ()), pytest.raises(UserError, match=message):
        model.test_step(batch)
    with pytest.raises(UserError, match=r"expected --losses to be a regular .*'\(cls'"):
        Attacked('fgsm', {}, '(cls', 0, {})
