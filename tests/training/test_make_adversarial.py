"""Any library's data preprocessor, made adversarial."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.registry import MODELS
from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from projects.dat.attacks import PixelAttack
from projects.dat.runtime.errors import UserError
from projects.dat.training import AdversarialDetDataPreprocessor, Adversary, make_adversarial
from tests.training.toy_detector import OPTIONS, Detector, batch


class Mine(DetDataPreprocessor):
    """A user's own, which counts its batches and darkens them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.batches = 0

    def forward(self, data, training=False):
        self.batches += 1
        data = super().forward(data, training)
        data['inputs'] = data['inputs'] - 0.1
        return data


def test_a_subclass_of_the_users_own_is_kept():
    torch.manual_seed(0)
    preprocessor = make_adversarial(Mine(**OPTIONS), 'concat', 1.0)
    assert isinstance(preprocessor, Mine) and preprocessor.batches == 0
    model = Detector(preprocessor).train()
    adversary = Adversary(PixelAttack('Linf', 0.1, 0.1, 1), model)
    preprocessor.bind(adversary)
    out = preprocessor(batch((64, 64)), training=True)
    assert preprocessor.batches == 1 and len(out['inputs']) == 2
    expected = DetDataPreprocessor(**OPTIONS)(batch((64, 64)), training=True)['inputs'] - 0.1
    assert torch.equal(out['inputs'][:1], expected)
    assert copy.deepcopy(model)(**out, mode='loss')


def test_one_that_is_adversarial_already_only_takes_the_settings():
    preprocessor = AdversarialDetDataPreprocessor(**OPTIONS)
    assert make_adversarial(preprocessor, 'replace', 0.5) is preprocessor
    assert (preprocessor.assembly, preprocessor.share) == ('replace', 0.5)


@pytest.mark.parametrize('name', [
    'BoxInstDataPreprocessor', 'TrackDataPreprocessor', 'MultiBranchDataPreprocessor',
    'ReIDDataPreprocessor',
])
def test_what_cannot_be_made_adversarial_is_named(name):
    cfg = dict(type=f'mmdet.{name}')
    if name == 'MultiBranchDataPreprocessor':
        cfg['data_preprocessor'] = dict(type='mmdet.DetDataPreprocessor')
    with pytest.raises(UserError, match=f'{name} cannot be made adversarial: expected'):
        make_adversarial(MODELS.build(cfg), 'concat', 1.0)


def test_classification_keeps_soft_targets_and_attacks_after_mixup():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(
                type='mmpretrain.LinearClsHead', num_classes=5, in_channels=64,
                loss=dict(type='mmpretrain.CrossEntropyLoss', use_soft=True),
            ),
            data_preprocessor=dict(num_classes=5, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
            train_cfg=dict(augments=dict(type='mmpretrain.Mixup', alpha=0.8)),
        )
    ).train()
    plain = copy.deepcopy(model.data_preprocessor)
    model.data_preprocessor = make_adversarial(model.data_preprocessor, 'concat', 0.5)
    assert isinstance(model.data_preprocessor, ClsDataPreprocessor)
    adversary = Adversary(PixelAttack('Linf', 0.1, 0.1, 1), model)
    model.data_preprocessor.bind(adversary)
    for collated in (True, False):
        images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        def data(images=images, collated=collated):
            samples = [DataSample().set_gt_label(i) for i in range(4)]
            return dict(inputs=images if collated else list(images), data_samples=samples)

        torch.manual_seed(1), np.random.seed(1)
        expected = plain(data(), training=True)
        torch.manual_seed(1), np.random.seed(1)
        adversary.keep_result = True
        out = model.data_preprocessor(data(), training=True)
        assert torch.equal(out['inputs'][:4], expected['inputs']) and len(out['inputs']) == 6
        torch.testing.assert_close(
            adversary.kept[0], (expected['inputs'][2:] + 1) / 2, rtol=0, atol=1e-6
        )
        scores = [sample.gt_score for sample in out['data_samples']]
        assert torch.equal(torch.stack(scores[4:]), torch.stack(scores[2:4]))
        assert 0 < scores[0].max() < 1
        assert model(**out, mode='loss')['loss'].isfinite()


def test_self_supervision_replaces_the_second_view():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.SimSiam',
            backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
            neck=dict(type='mmpretrain.NonLinearNeck', in_channels=64, hid_channels=16,
                      out_channels=16, num_layers=2, with_avg_pool=True),
            head=dict(type='mmpretrain.LatentPredictHead', loss=dict(
                type='mmpretrain.CosineSimilarityLoss'), predictor=dict(
                    type='mmpretrain.NonLinearNeck', in_channels=16, hid_channels=8,
                    out_channels=16, with_avg_pool=False)),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        )
    ).train()
    model.data_preprocessor = make_adversarial(model.data_preprocessor, 'concat', 0.5)
    adversary = Adversary(PixelAttack('Linf', 0.1, 0.1, 1), model)
    model.data_preprocessor.bind(adversary)
    state = copy.deepcopy(model.state_dict())
    views = [torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8) for _ in range(2)]
    data = dict(inputs=views, data_samples=[DataSample() for _ in range(4)])
    plain = model.data_preprocessor.plain(copy.deepcopy(data))['inputs']
    out = model.data_preprocessor(data, training=True)['inputs']
    assert torch.equal(out[0], plain[0]) and torch.equal(out[1][:2], plain[1][:2])
    assert (out[1][2:] != plain[1][2:]).any() and len(out[1]) == 4
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(UserError, match='found 1 view'):
        model.data_preprocessor(dict(data, inputs=views[:1]), training=True)


def test_classification_counts_the_collations_padding_as_padding():
    preprocessor = make_adversarial(
        ClsDataPreprocessor(num_classes=3, mean=[127.5] * 3, std=[127.5] * 3), 'concat', 1.0
    )
    samples = [DataSample(metainfo=dict(img_shape=s)).set_gt_label(0) for s in [(8, 8), (8, 4)]]
    images = [torch.full((3, *sample.img_shape), 9, dtype=torch.uint8) for sample in samples]
    inputs = preprocessor.plain(dict(inputs=images, data_samples=samples))['inputs']
    mask = preprocessor._content(inputs, samples)
    assert mask[0].all() and torch.equal(mask[1, 0].any(0), torch.arange(8) < 4)
