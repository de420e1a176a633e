"""HuberLoss against its formula, written out in plain Python."""

import pytest
import torch
from mmdet.registry import MODELS

from projects.dat.models import HuberLoss

DISTANCES = [-3.0, -0.5, -0.1, -0.02, 0.0, 0.05, 0.1, 0.11, 1.0, 40.0]


def huber(d: float, delta: float) -> float:
    return 0.5 * d * d if abs(d) <= delta else delta * (abs(d) - 0.5 * delta)


@pytest.mark.parametrize('beta', [0.1, 0.5, 1.0])
def test_values_and_gradients(beta):
    target = torch.linspace(-2, 2, len(DISTANCES), dtype=torch.float64)
    pred = (target + torch.tensor(DISTANCES, dtype=torch.float64)).requires_grad_()
    loss = HuberLoss(beta=beta, reduction='none')(pred, target)
    expected = torch.tensor([huber(d, beta) for d in DISTANCES], dtype=torch.float64)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    slope = torch.tensor([min(max(d, -beta), beta) for d in DISTANCES], dtype=torch.float64)
    torch.testing.assert_close(pred.grad, slope)


@pytest.mark.parametrize('kwargs, expected', [
    (dict(), 50 * (0.02 + 0.095 + 0.0) / 3),
    (dict(reduction_override='sum'), 50 * (0.02 + 0.095 + 0.0)),
    (dict(weight=torch.tensor([2.0, 0.0, 1.0])), 50 * 0.04 / 3),
    (dict(weight=torch.tensor([1.0, 1.0, 0.0]), avg_factor=8.0), 50 * 0.115 / 8),
])
def test_reductions(kwargs, expected):
    loss = MODELS.build(dict(type='HuberLoss', beta=0.1, loss_weight=50.0))
    # Distances 0.25, 1 and 0: 0.1 * (0.25 - 0.05) = 0.02 and 0.1 * 0.95 = 0.095.
    pred, target = torch.tensor([1.25, 0.0, 3.0]), torch.tensor([1.0, 1.0, 3.0])
    assert loss(pred, target, **kwargs).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_prediction_of_full_precision_target(dtype):
    pred = torch.tensor([1.5, 0.0], dtype=dtype, requires_grad=True)
    loss = HuberLoss(beta=0.1)(pred, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert pred.grad.tolist() == pytest.approx([0.05, 0.0], rel=1e-2)


def test_no_boxes_is_zero_with_a_gradient():
    pred = torch.zeros(0, 4, requires_grad=True)
    loss = HuberLoss()(pred, torch.zeros(0, 4))
    loss.backward()
    assert loss.item() == 0 and pred.grad.shape == (0, 4)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r'\(3, 4\) and \(3, 1\)'):
        HuberLoss()(torch.zeros(3, 4), torch.zeros(3, 1))


@pytest.mark.parametrize('beta', [0.0, -1.0])
def test_beta_must_be_positive(beta):
    with pytest.raises(ValueError, match=f'positive beta, found {beta}'):
        HuberLoss(beta=beta)
