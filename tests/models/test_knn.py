"""k-NN against a vote counted by hand, and its bank as part of a checkpoint."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from projects.dat.models import KNNHead
from projects.dat.runtime.errors import UserError


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


CONFIG = dict(
    type='KNNClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='KNNHead', num_classes=3, k=4),
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
)


def votes_by_hand(bank, labels, queries, k, temperature):
    bank, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
    shares = np.zeros((len(queries), 3))
    for share, query in zip(shares, queries, strict=True):
        cosines = bank @ query
        for i in np.argsort(-cosines)[:k]:
            share[labels[i]] += np.exp(cosines[i] / temperature)
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize('k', [1, 4, 100])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_votes(k, temperature):
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(size=(12, 5)), rng.normal(size=(6, 5))
    labels = rng.integers(0, 3, 12)
    head = KNNHead(3, k, temperature)
    for part in (slice(0, 7), slice(7, 12)):
        head.add((torch.tensor(bank[part]).float(),), torch.tensor(labels[part]))
    found = head.predict((torch.tensor(queries).float(),))
    expected = votes_by_hand(bank, labels, queries, k, temperature)
    np.testing.assert_allclose(
        torch.stack([x.pred_score for x in found]), expected, rtol=1e-4, atol=1e-5)
    assert [x.pred_label.item() for x in found] == expected.argmax(1).tolist()


def data(seed=0):
    """Six images, each of four colors."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (6, 3, 2, 2), generator=generator, dtype=torch.uint8)
    images = images.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(i % 3) for i in range(6)])


def test_training_fills_the_bank_and_changes_nothing_else():
    model = MODELS.build(copy.deepcopy(CONFIG)).train()
    before = copy.deepcopy(model.state_dict())
    assert model.train_step(data()) == {} and model.train_step(data(1)) == {}
    assert not any(module.training for module in model.modules())
    for key, value in model.state_dict().items():
        if key == 'head.features':
            assert value.shape == (12, 64)
            torch.testing.assert_close(value.norm(dim=1), torch.ones(12))
        elif key == 'head.labels':
            assert value.tolist() == [0, 1, 2] * 4
        else:
            assert torch.equal(value, before[key])
    # Its own images are found again, in a model that has the bank from a state dict alone.
    model.head.k = 1
    other = MODELS.build(dict(copy.deepcopy(CONFIG), head=dict(CONFIG['head'], k=1)))
    other.load_state_dict(model.state_dict(), strict=True)
    for of in (model, other):
        assert [x.pred_label.item() for x in of.test_step(data(1))] == [0, 1, 2] * 2


def test_its_loss_has_a_gradient_for_an_attack():
    model = MODELS.build(copy.deepcopy(CONFIG))
    model.train_step(data())
    images = (data(1)['inputs'] / 255).requires_grad_()
    loss = model(images, data()['data_samples'], mode='loss')['loss']
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_without_a_bank():
    with pytest.raises(UserError, match='bank of features .* found none: make one with tools/trai'):
        MODELS.build(copy.deepcopy(CONFIG)).test_step(data())


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr('projects.dat.models.knn.get_world_size', lambda: 2)
    with pytest.raises(UserError, match='one process .* found 2'):
        MODELS.build(copy.deepcopy(CONFIG)).train_step(data())
