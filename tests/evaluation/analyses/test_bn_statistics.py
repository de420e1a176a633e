import numpy as np
import pytest
import torch
from torch import nn

from projects.dat.evaluation.analyses import bn_statistics
from projects.dat.evaluation.analyses.bn_statistics import watch
from projects.dat.evaluation.analyses.subject import NoAttack
from projects.dat.runtime.errors import UserError


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_every_attack_and_layer(subject, toy):
    result = bn_statistics.analyze(subject, toy, 0.2)
    layers = [n for n, m in subject.model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    for found in result.cells.values():
        for kind in ('mean', 'variance'):
            values = [found.metrics[f'pcc_{kind}/{name}'] for name in layers]
            assert found.metrics[f'pcc_{kind}'] == pytest.approx(np.mean(values))
            assert max(values) <= 1 + 1e-9
    assert {name for name, _ in result.cells} == {'reconstruction', 'dat', 'pgd 4/255'}
    matched = {name: found.metrics['pcc_mean'] for (name, _), found in result.cells.items()}
    assert matched['pgd 4/255'] < 1


def test_what_norms_are_given_is_what_hooks_see(subject):
    """Of the last pass alone, and none is left afterwards."""
    name, norm = next(
        (n, m) for n, m in subject.model.named_modules() if isinstance(m, nn.BatchNorm2d)
    )
    inputs = []
    handle = norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    statistics, _ = bn_statistics._statistics(subject, NoAttack())
    handle.remove()
    per_batch = len(inputs) // len(statistics)
    last = inputs[-1]
    mean, variance = statistics[-1][name]
    torch.testing.assert_close(mean, last.double().mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    expected = last.double().var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(variance, expected, rtol=1e-4, atol=1e-6)
    assert per_batch == 2  # the objective's pass, and the prediction's
    with watch(subject.model) as seen:
        pass
    subject.attack(NoAttack())
    assert not seen


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_a_model_without_batch_norms(subject, toy):
    for module in subject.model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with pytest.raises(UserError, match='expected batch norms in .*, found none'):
        bn_statistics.analyze(subject, toy, 0.2)
