import math

import pytest
import torch

from projects.dat.attacks import TokenChangeController

CPU = torch.device('cpu')
USED = torch.tensor(False)


def simulate(controller, batches, noise=0.3, tokens=None, seed=0):
    """Code changes of a run in which alpha 0.1 changes 3.8 % of the tokens on average."""
    generator = torch.Generator().manual_seed(seed)
    changes = []
    for _ in range(batches):
        spread = torch.exp(noise * torch.randn((), generator=generator) - noise**2 / 2)
        rate = (0.038 * (controller.alpha(CPU) / 0.1) ** 0.9 * spread).clamp(max=1)
        if tokens:
            rate = torch.binomial(torch.tensor(float(tokens)), rate, generator=generator) / tokens
        controller.update(rate, USED)
        changes.append(rate.item())
    return changes


@pytest.mark.parametrize('start', [0.001, 0.03, 0.1, 0.3, 10.0])
@pytest.mark.parametrize('noise, tokens', [(0.0, None), (0.3, None), (0.6, None), (0.3, 64)])
def test_reaches_the_target_from_far_and_stays(start, noise, tokens):
    controller = TokenChangeController(alpha=start)
    simulate(controller, 60, noise, tokens)
    assert abs(math.log(controller.alpha(CPU).item() / 0.1)) < 0.8
    changes = simulate(controller, 400, noise, tokens, seed=1)
    assert sum(changes) / len(changes) == pytest.approx(0.038, rel=0.1)


@pytest.mark.parametrize('change, ratio', [(0.038, 1.0), (0.0, math.exp(0.2)), (1.0, 0.5)])
def test_update_rule(change, ratio):
    controller = TokenChangeController(alpha=0.1)
    controller.update(torch.tensor(change), USED)
    assert controller.alpha(CPU).item() == pytest.approx(0.1 * ratio)


@pytest.mark.parametrize('change, limit', [(0.0, 0.15), (1.0, 0.05)])
def test_limits_hold(change, limit):
    controller = TokenChangeController(alpha=0.1, limits=(0.05, 0.15))
    for _ in range(20):
        controller.update(torch.tensor(change), USED)
    assert controller.alpha(CPU).item() == pytest.approx(limit)


@pytest.mark.parametrize('change', [0.0, 1.0, float('nan')])
def test_skipped_batch_changes_nothing(change):
    controller = TokenChangeController(alpha=0.1)
    before = controller.log_alpha.clone()
    controller.update(torch.tensor(change), torch.tensor(True))
    assert torch.equal(controller.log_alpha, before)


def test_restored_controller_goes_on_alike():
    controller, restored = TokenChangeController(alpha=1.0), TokenChangeController()
    simulate(controller, 7)
    restored.load_state_dict(controller.state_dict())
    assert simulate(restored, 20) == simulate(controller, 20)


def test_state_is_a_snapshot():
    controller = TokenChangeController(alpha=0.1)
    state = controller.state_dict()
    controller.log_alpha.add_(1)
    assert state['log_alpha'].exp().item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    'settings, named',
    [
        (dict(target=3.8), 'target'),
        (dict(target=0.0), 'target'),
        (dict(gain=0.0), 'gain'),
        (dict(alpha=0.0), 'alpha'),
        (dict(alpha=1.0, limits=(0.01, 0.1)), 'limits'),
    ],
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        TokenChangeController(**settings)


def test_a_batch_without_a_gradient_calibrates_nothing():
    controller = TokenChangeController()
    assert controller.calibrate(lambda a: 0 * a, USED) == 1.0


@pytest.mark.parametrize('alpha', [3e-4, 0.1, 40.0])
def test_calibration_finds_the_step_size(alpha):
    controller = TokenChangeController()
    assert not controller.calibrated
    found = controller.calibrate(lambda a: (0.038 * (a / alpha) ** 0.9).clamp(max=1), USED)
    assert found.item() == pytest.approx(alpha, rel=0.06) and controller.calibrated
