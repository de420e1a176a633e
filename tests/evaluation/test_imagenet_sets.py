"""The metric of ImageNet-A and -R, and what a set changes in a loader and an evaluator."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmpretrain.structures import DataSample

from projects.dat.evaluation import imagenet_sets
from projects.dat.evaluation.imagenet_sets import ImageNetSet, Layout, MaskedAccuracy
from projects.dat.evaluation.model_classes import WNIDS
from tests.evaluation.color_labels import write_case, write_image


def evaluated(metric, logits, labels):
    """As a test loop does, in two batches."""
    with METRICS.switch_scope_and_registry('mmpretrain'):
        evaluator = Evaluator(metrics=[metric])
    scores = torch.from_numpy(logits).softmax(1)
    samples = [DataSample().set_pred_score(score).set_gt_label(int(label))
               for score, label in zip(scores, labels, strict=True)]
    for batch in (samples[:3], samples[3:]):
        evaluator.process(batch)
    kept = [sample.pred_score.clone() for sample in samples]
    found = evaluator.evaluate(len(samples))
    assert all(torch.equal(x.pred_score, y) for x, y in zip(samples, kept, strict=True))
    return found


@pytest.mark.parametrize('among', [[1, 4, 5], [0, 9], range(10), [3]])
def test_other_classes_do_not_count(among):
    among = list(among)
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (50, 10)).astype(np.float32)
    labels = rng.choice(among, 50)
    found = evaluated(dict(type='MaskedAccuracy', among=among, topk=(1,)), logits, labels)
    best = np.array(among)[logits[:, among].argmax(1)]
    assert found == {'accuracy/top1': pytest.approx(100 * (best == labels).mean(), rel=1e-6)}
    if len(among) == 10:
        assert found == evaluated(dict(type='Accuracy', topk=(1,)), logits, labels)


def test_a_hand_made_case():
    # The first is right among all; the second and last among labels 1 and 2; the third never.
    logits = np.array([[1, 5, 2, 0], [9, 1, 3, 0], [0, 1, 2, 9], [9, 8, 9, 9.5]], np.float32)
    labels = [1, 2, 1, 2]
    assert evaluated(dict(type='Accuracy'), logits, labels)['accuracy/top1'] == 25
    found = evaluated(dict(type=MaskedAccuracy, among=[1, 2], topk=(1, 2)), logits, labels)
    assert found == {'accuracy/top1': 75, 'accuracy/top2': 100}


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """A benchmark of two classes, and a config whose evaluator measures other things too."""
    monkeypatch.setitem(
        imagenet_sets.LAYOUTS, 'two', Layout('https://x', 'two', 2, masked=True, crops=True)
    )
    for label in (4, 2):
        write_image(tmp_path / 'sets/two' / WNIDS[label] / '0.png', label)
    cfg = Config.fromfile(write_case(tmp_path)[0])
    cfg.test_dataloader.persistent_workers = True
    return ImageNetSet('two', str(tmp_path / 'sets')), cfg


def test_what_a_set_changes(layout, tmp_path):
    found, cfg = layout
    before = cfg.to_dict()
    (cell, trial), = found.trials(cfg).items()
    assert cell == ('two', 0) and trial.attack is None and cfg.to_dict() == before
    dataset = trial.loader['dataset']
    assert dataset['labels'] == {WNIDS[2]: 2, WNIDS[4]: 4}
    assert dataset['root'] == str(tmp_path / 'sets/two')
    # Cut to 224 px already, so brought to the final 32 px at once.
    assert [step['type'] for step in dataset['pipeline']] == [
        'LoadImageFromFile', 'Resize', 'PackInputs'
    ]
    assert trial.loader['batch_size'] == 64 and trial.loader['persistent_workers'] is False
    assert trial.evaluator == [dict(type=MaskedAccuracy, among=[2, 4], topk=(1, 2))]


@pytest.mark.parametrize(
    'evaluator, expected',
    [
        ([dict(type='Accuracy', topk=1), dict(type='SingleLabelMetric')], [dict(topk=1)]),
        (dict(type='SingleLabelMetric'), [dict()]),
    ],
)
def test_only_accuracies_are_masked(layout, evaluator, expected):
    found, cfg = layout
    cfg.test_evaluator = evaluator
    assert found.evaluator(cfg) == [
        dict(type=MaskedAccuracy, among=[2, 4], **options) for options in expected
    ]


def test_the_class_folders_may_be_given_themselves(layout, tmp_path):
    found, cfg = layout
    inner = ImageNetSet('two', str(tmp_path / 'sets/two'))
    assert inner.labels(cfg) == found.labels(cfg) and inner.data(cfg) == found.data(cfg)
