from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.dat.attacks import DiscreteAttack
from projects.dat.benchmark import cases
from projects.dat.benchmark.cases import make_cases
from projects.dat.benchmark.data import make_batch, make_images
from projects.dat.benchmark.detector import ATTACK, Detector, check_sizes
from projects.dat.benchmark.results import BASE, PARTS, PLAIN, RECIPE, STEP
from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import FastVQGAN, Tokenizer
from projects.dat.training import apply_adversarial
from projects.dat.training.split_bn import split_batch_norms
from tests.training.coco_case import coco_config

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')


class Watched(Tokenizer):
    """Notes its calls."""

    def __init__(self):
        super().__init__(FastVQGAN(width=8, num_tokens=64))
        self.calls = []

    def tokenize(self, images):
        self.calls.append('tokenize')
        return super().tokenize(images)

    def detokenize(self, tokens, size=None):
        self.calls.append('detokenize')
        return super().detokenize(tokens, size)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    cfg = coco_config(tmp_path_factory.mktemp('retinanet'))
    cfg.model.data_preprocessor.pad_size_divisor = 512
    cfg.model.data_preprocessor.batch_augments = [dict(type='BatchFixedSizePad', size=(256, 256))]
    return Detector(cfg, CPU, seed=0)


@pytest.fixture
def images():
    return make_images(2, 64, seed=0)


def state(trainee):
    return {name: p.detach().clone() for name, p in trainee.model.named_parameters()}


def test_both_models_get_the_batch_as_it_is(detector, images):
    """The config pads to 512 pixels, in training to 256; here nothing is added to an image."""
    assert detector.plain.model.training and detector.adversarial.model.training
    data = make_batch(images, seed=0)
    plain = detector.plain.model.data_preprocessor(data, training=True)
    assert plain['inputs'].shape == (2, 3, 64, 64)
    adversarial = detector.adversarial.model.data_preprocessor(data, training=False)
    assert adversarial['inputs'].shape == (2, 3, 64, 64)


def test_nothing_is_fetched_and_batch_norms_are_split(monkeypatch):
    def fetch(*args, **kwargs):
        raise AssertionError('no network in a benchmark')

    monkeypatch.setattr('mmengine.runner.checkpoint._load_checkpoint', fetch)
    monkeypatch.setattr('mmengine.runner.checkpoint._load_checkpoint_with_prefix', fetch)
    cfg = Config.fromfile(ROOT / 'configs/efficientdet_512.py')
    detector = Detector(cfg, CPU, seed=0)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    norms = split_batch_norms(detector.adversarial.model)
    assert norms and all(norm.route == 'split' for norm in norms)
    assert not split_batch_norms(detector.plain.model)


def test_the_attack_is_the_fragments(detector):
    tokenizer = Watched()
    attack, losses = detector.attack(tokenizer)
    assert isinstance(attack, DiscreteAttack) and attack.tokenizer is tokenizer
    assert attack.controller is not None and losses == 'loss'


def test_every_case_runs_its_tokenizer_and_leaves_the_weights(detector, images):
    tokenizers = {'first fp32': Watched(), 'second fp32': Watched()}
    found = list(make_cases(detector, tokenizers, Watched().network, images, seed=0))
    keys = [(case.measurement.row, case.measurement.quantity) for case in found]
    parts = [(row, part) for row in tokenizers for part in (*PARTS, BASE, STEP)]
    recipe = [(RECIPE, part) for part in ('reconstruct', BASE, STEP)]
    assert keys == [(PLAIN, STEP), *parts, *recipe]
    assert all((m.size, m.batch) == (64, 2) for m in (case.measurement for case in found))

    expected = {
        'tokenize': ['tokenize'],
        'search': [],
        'product': [],
        'detokenize': ['detokenize'],
        'reconstruct': ['tokenize', 'detokenize'],
        'attack': ['tokenize', 'detokenize'] * 2,
        STEP: ['tokenize', 'detokenize'] * 2,
        BASE: [],
    }
    before = state(detector.plain), state(detector.adversarial)
    for case, (row, quantity) in zip(found, keys, strict=True):
        for tokenizer in tokenizers.values():
            tokenizer.calls.clear()
        case.call()
        for name, tokenizer in tokenizers.items():
            assert tokenizer.calls == (expected[quantity] if name == row else [])
    for trainee, weights in zip((detector.plain, detector.adversarial), before, strict=True):
        assert all(torch.equal(weights[k], v) for k, v in state(trainee).items())


def test_a_recipe_that_exceeds_the_memory_is_skipped(detector, images, monkeypatch):
    network = Watched().network
    monkeypatch.setattr(cases, 'memory_bytes', lambda device: 3 << 30)
    *others, recipe = make_cases(detector, {}, network, images, seed=0)
    assert recipe.measurement.skipped is None
    monkeypatch.setattr(cases, 'matrix_bytes', lambda network, size, batch: 7 << 30)
    *others, recipe = make_cases(detector, {}, network, images, seed=0)
    assert 'need 7 GiB and this machine has 3' in recipe.measurement.skipped
    skipped = [(case.measurement.row, case.measurement.skipped is not None) for case in others]
    assert skipped == [(PLAIN, False), (RECIPE, True), (RECIPE, True)]


@pytest.mark.parametrize(
    'sizes, batches, message',
    [
        ([256, 320], [1], 'multiples of 128, but --sizes has 320: use'),
        ([0], [1], 'multiples of 128, but --sizes has 0: use 128'),
        ([256, 128], [2, 1], 'coarsest map of a 128 px image is one value'),
    ],
)
def test_sizes_that_efficientdet_cannot_take(sizes, batches, message):
    cfg = Config.fromfile(ROOT / 'configs/efficientdet_512.py')
    check_sizes(cfg, [128, 256], [2])
    check_sizes(cfg, [256], [1])
    with pytest.raises(UserError, match=message):
        check_sizes(cfg, sizes, batches)


def test_sizes_of_other_detectors(tmp_path):
    with pytest.raises(UserError, match='multiples of 32, but --sizes has 100: use 96'):
        check_sizes(coco_config(tmp_path), [64, 100], [1])


def test_a_config_saved_by_an_adversarial_run(tmp_path):
    cfg = coco_config(tmp_path)
    cfg.merge_from_dict(Config.fromfile(ATTACK).to_dict())
    apply_adversarial(cfg)
    with pytest.raises(UserError, match='give the config that the run was started with'):
        Detector(cfg, CPU, seed=0)


def test_masks_are_refused(tmp_path):
    cfg = coco_config(tmp_path)
    cfg.model.roi_head = dict(mask_head=dict(type='FCNMaskHead'))
    with pytest.raises(UserError, match='boxes only'):
        Detector(cfg, CPU, seed=0)
