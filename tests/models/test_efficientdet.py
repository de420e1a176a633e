"""EfficientDet against MMDetection's own, on the reference case in tests/fixtures."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

ROOT = Path(__file__).resolve().parents[2]


def summed(losses: dict[str, list[torch.Tensor]]) -> dict[str, float]:
    return {name: sum(levels).item() for name, levels in losses.items()}


def test_state_dict_has_the_published_layout(build_d0):
    layout = json.loads((ROOT / 'tests/fixtures/efficientdet_d0_layout.json').read_text())
    state = build_d0().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == layout


def test_outputs_and_losses_in_eval_mode(d0, case_input, reference):
    case, outputs = reference
    images, samples = case_input
    d0.eval()
    with torch.no_grad():
        scores, deltas = d0(images, samples, mode='tensor')
        losses = summed(d0(images, samples, mode='loss'))
    for level in range(5):
        torch.testing.assert_close(scores[level], outputs[f'cls.{level}'], atol=2e-3, rtol=0)
        torch.testing.assert_close(deltas[level], outputs[f'box.{level}'], atol=2e-3, rtol=0)
    assert losses == pytest.approx(case['loss_eval'], rel=1e-3)


def test_losses_in_train_mode_and_a_gradient_everywhere(d0, case_input, reference):
    images, samples = case_input
    d0.train()
    losses = d0(images, samples, mode='loss')
    assert summed(losses) == pytest.approx(reference[0]['loss_train'], rel=1e-3)
    sum(map(sum, losses.values())).backward()
    assert [name for name, p in d0.named_parameters() if p.grad is None] == []


def test_finds_the_boxes_it_is_made_to_see(d0, case_input):
    images, samples = case_input
    d0.eval()
    with torch.no_grad():
        results = d0(images, samples, mode='predict')
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= 100
        assert (found.scores >= 1e-3).all() and (found.scores <= 1).all()
        assert (found.scores[:-1] >= found.scores[1:]).all()
        assert (found.bboxes[:, 2:] >= found.bboxes[:, :2]).all()


def test_an_image_without_boxes_trains(build_d0, empty_sample):
    model = build_d0().train()
    losses = summed(model(torch.randn(1, 3, 256, 256), [empty_sample(256, 256)], mode='loss'))
    assert losses['loss_bbox'] == 0
    assert 0 < losses['loss_cls'] < float('inf')


def test_trains_in_half_precision(d0, case_input):
    images, samples = case_input
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = d0.train()(images[..., :128, :128], samples, mode='loss')
    total = sum(map(sum, losses.values()))
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in d0.parameters())


@pytest.mark.parametrize('size, padded', [
    ((128, 200), '128 x 256'), ((100, 128), '128 x 128'), ((320, 480), '384 x 512')])
def test_size_not_divisible_by_128(build_d0, empty_sample, size, padded):
    with pytest.raises(ValueError) as error:
        build_d0()(torch.zeros(1, 3, *size), [empty_sample(*size)], mode='tensor')
    message = str(error.value)
    assert f'{size[0]} x {size[1]}' in message
    assert 'pad_size_divisor=128' in message and padded in message and 'Resize' in message
    assert '\n' not in message


def test_norm_layers_are_those_of_norm_cfg(build_d0):
    class MarkedNorm(_BatchNorm):
        def _check_input_dim(self, x):
            assert x.dim() == 4

    MODELS.register_module('MarkedNorm', module=MarkedNorm)
    try:
        marked, plain = build_d0('MarkedNorm'), build_d0()
    finally:
        MODELS.module_dict.pop('MarkedNorm')
    norms = [m for m in marked.modules() if isinstance(m, _BatchNorm)]
    assert {(type(m), m.eps, m.momentum) for m in norms} == {(MarkedNorm, 1e-3, 0.01)}
    assert marked.state_dict().keys() == plain.state_dict().keys()
