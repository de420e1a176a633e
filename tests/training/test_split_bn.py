import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from projects.dat.training.split_bn import SplitBN, SplitSyncBN, route_batch_norm, set_route

OPTIONS = dict(eps=1e-3, momentum=0.01)


def pair(split, kind=SplitBN):
    """A split batch norm and a plain one with the same weights and statistics."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3, **OPTIONS)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    plain(torch.randn(4, 3, 5, 5))
    norm = kind(3, split=split, **OPTIONS)
    norm.load_state_dict(plain.state_dict(), strict=True)
    return norm, plain


def halves():
    return torch.randn(2, 3, 6, 6) + 1, torch.randn(2, 3, 6, 6) * 3


@pytest.mark.parametrize('kind', [SplitBN, SplitSyncBN])
def test_shared_is_two_passes_through_one_batch_norm(kind):
    norm, plain = pair('shared', kind)
    clean, adversarial = halves()
    set_route([norm], 'split')
    out = norm(torch.cat([clean, adversarial]))
    assert torch.equal(out, torch.cat([plain(clean), plain(adversarial)]))
    for key, value in plain.state_dict().items():
        assert torch.equal(norm.state_dict()[key], value), key


@pytest.mark.parametrize('kind', [SplitBN, SplitSyncBN])
def test_clean_normalizes_as_shared_and_evaluates_with_the_clean_half(kind):
    norm, plain = pair('clean', kind)
    clean, adversarial = halves()
    set_route([norm], 'split')
    out = norm(torch.cat([clean, adversarial]))
    assert torch.equal(out[:2], plain(clean))
    for key, value in plain.state_dict().items():
        assert torch.equal(norm.state_dict()[key], value), key
    assert torch.equal(out[2:], plain(adversarial))


def test_aux_is_two_batch_norms():
    norm, main = pair('aux')
    auxiliary = copy.deepcopy(main)
    clean, adversarial = halves()
    set_route([norm], 'split')
    out = norm(torch.cat([clean, adversarial]))
    assert torch.equal(out, torch.cat([main(clean), auxiliary(adversarial)]))
    assert torch.equal(norm.running_mean, main.running_mean)
    assert torch.equal(norm.aux.running_mean, auxiliary.running_mean)


@pytest.mark.parametrize(
    'split, route, which',
    [
        ('shared', 'main', 'main'),
        ('shared', 'aux', 'main'),
        ('clean', 'aux', 'main'),
        ('aux', 'main', 'main'),
        ('aux', 'aux', 'aux'),
    ],
)
def test_batches_of_one_kind(split, route, which):
    norm, plain = pair(split)
    x = torch.randn(3, 3, 4, 4)
    if split == 'aux':
        norm.aux.weight.data.fill_(7)
    with route_batch_norm([norm], route):
        out = norm(x)
    if which == 'aux':
        plain.weight.data.fill_(7)
    assert torch.equal(out, plain(x))
    assert norm.route == 'main'


@pytest.mark.parametrize('split', ['shared', 'clean', 'aux'])
@pytest.mark.parametrize('route', ['main', 'aux', 'split'])
def test_eval_mode_is_the_main_batch_norm(split, route):
    norm, plain = pair(split)
    norm.eval(), plain.eval()
    x = torch.randn(3, 3, 4, 4)
    with route_batch_norm([norm], route):
        assert torch.equal(norm(x), plain(x))


@pytest.mark.parametrize('split', ['shared', 'clean'])
def test_gradients_are_those_of_two_passes(split):
    norm, plain = pair(split)
    clean, adversarial = halves()
    weights = torch.randn(4, 3, 6, 6)
    set_route([norm], 'split')
    (norm(torch.cat([clean, adversarial])) * weights).sum().backward()
    (torch.cat([plain(clean), plain(adversarial)]) * weights).sum().backward()
    torch.testing.assert_close(norm.weight.grad, plain.weight.grad)
    torch.testing.assert_close(norm.bias.grad, plain.bias.grad)


def test_state_dict_without_aux_is_a_plain_one():
    norm, plain = pair('aux')
    stripped = {k: v for k, v in norm.state_dict().items() if not k.startswith('aux.')}
    assert list(stripped) == list(plain.state_dict())
    nn.BatchNorm2d(3).load_state_dict(stripped, strict=True)


def test_a_plain_checkpoint_starts_the_auxiliary_layer_too():
    norm, plain = pair('aux')
    for key, value in plain.state_dict().items():
        assert torch.equal(norm.aux.state_dict()[key], value)
    trained = {k: v + 1 for k, v in norm.state_dict().items()}
    norm.load_state_dict(trained)
    assert torch.equal(norm.aux.bias, trained['aux.bias'])


def test_is_built_by_name_and_found_as_batch_norm():
    name, norm = build_norm_layer(dict(type='SplitBN', split='aux', requires_grad=True), 8)
    assert name == 'bn'
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert build_norm_layer(dict(type='SplitSyncBN'), 8)[0] == 'bn'


def test_odd_batches_cannot_be_halves():
    norm, _ = pair('shared')
    set_route([norm], 'split')
    with pytest.raises(RuntimeError, match='got 3 samples'):
        norm(torch.randn(3, 3, 4, 4))


@pytest.mark.parametrize('make', [lambda: SplitBN(3, split='both'), lambda: set_route([], 'both')])
def test_unknown_values(make):
    with pytest.raises(ValueError, match="got 'both'"):
        make()


@pytest.mark.parametrize('route', ['main', 'split'])
def test_one_value_per_channel_takes_the_running_statistics(route):
    """One image of 128 px at the top of a pyramid; BatchNorm raises there."""
    norm, plain = pair('shared')
    x = torch.randn(2 if route == 'split' else 1, 3, 1, 1)
    with route_batch_norm([norm], route):
        out = norm(x)
    torch.testing.assert_close(out, plain.eval()(x))
    assert torch.equal(norm.running_mean, plain.running_mean)


# Each of two processes holds a clean and an adversarial image; together they must do what one
# process does with both clean ones and then with both adversarial ones.
SCRIPT = """
import copy, sys
sys.path.insert(0, {root!r})
import projects.dat.register, torch
import torch.distributed as dist
from torch import nn
from projects.dat.training.split_bn import SplitSyncBN, set_route

dist.init_process_group('gloo')
rank = dist.get_rank()
for split in 'shared', 'clean':
    torch.manual_seed(0)
    x, weights = torch.randn(2, 4, 3, 5, 5).double() + 100
    plain = nn.BatchNorm2d(3, eps=1e-3, momentum=0.01)
    nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    norm = SplitSyncBN(3, split=split, eps=1e-3, momentum=0.01)
    norm.load_state_dict(plain.state_dict())
    set_route([norm], 'split')
    x, weights = x.float(), weights.float() - 100
    full = x.clone().requires_grad_()
    clean = plain(full[:2])
    statistics = copy.deepcopy(plain.state_dict())
    expected = torch.cat([clean, plain(full[2:])])
    if split == 'shared':
        statistics = plain.state_dict()
    (expected * weights).sum().backward()
    mine = [rank, 2 + rank]
    part = x[mine].clone().requires_grad_()
    out = norm(part)
    (out * weights[mine]).sum().backward()
    dist.all_reduce(norm.weight.grad)
    close = torch.testing.assert_close
    close(out, expected[mine], atol=1e-4, rtol=1e-4)
    close(part.grad, full.grad[mine], atol=1e-4, rtol=1e-4)
    close(norm.weight.grad, plain.weight.grad, atol=1e-3, rtol=1e-4)
    for key, value in statistics.items():
        close(norm.state_dict()[key], value, atol=1e-4, rtol=1e-4)
dist.barrier()
print('EQUAL', rank, flush=True)
"""


def test_two_processes_normalize_as_one(tmp_path):
    root = Path(__file__).resolve().parents[2]
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.format(root=str(root)))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--rdzv-backend=c10d', '--rdzv-endpoint=localhost:0', str(script)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.count('EQUAL') == 2, result.stderr[-3000:]
