import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from projects.dat.runtime.errors import UserError
from projects.dat.training.split_bn import SplitBN, route_batch_norm, set_route

OPTIONS = dict(eps=1e-3, momentum=0.01)


def pair(split, sync=False):
    """A split batch norm and a plain one with the same weights and statistics."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3, **OPTIONS)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    plain(torch.randn(4, 3, 5, 5))
    norm = SplitBN(3, split, sync, **OPTIONS)
    norm.load_state_dict(plain.state_dict(), strict=True)
    return norm, plain


def halves():
    return torch.randn(2, 3, 6, 6) + 1, torch.randn(2, 3, 6, 6) * 3


@pytest.mark.parametrize('sync', [False, True])
def test_shared_is_two_passes_through_one_batch_norm(sync):
    norm, plain = pair('shared', sync)
    clean, adversarial = halves()
    set_route([norm], 'split', (2, 2))
    out = norm(torch.cat([clean, adversarial]))
    assert torch.equal(out, torch.cat([plain(clean), plain(adversarial)]))
    for key, value in plain.state_dict().items():
        assert torch.equal(norm.state_dict()[key], value), key


@pytest.mark.parametrize('sync', [False, True])
def test_clean_normalizes_as_shared_and_evaluates_with_the_clean_half(sync):
    norm, plain = pair('clean', sync)
    clean, adversarial = halves()
    set_route([norm], 'split', (2, 2))
    out = norm(torch.cat([clean, adversarial]))
    assert torch.equal(out[:2], plain(clean))
    for key, value in plain.state_dict().items():
        assert torch.equal(norm.state_dict()[key], value), key
    assert torch.equal(out[2:], plain(adversarial))


def test_aux_is_two_batch_norms():
    norm, main = pair('aux')
    auxiliary = copy.deepcopy(main)
    clean, adversarial = halves()
    set_route([norm], 'split', (2, 2))
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
@pytest.mark.parametrize('route, sizes', [('main', None), ('aux', None), ('split', (2, 2))])
def test_eval_mode_is_the_main_batch_norm(split, route, sizes):
    norm, plain = pair(split)
    norm.eval(), plain.eval()
    x = torch.randn(3, 3, 4, 4)
    set_route([norm], route, sizes)
    assert torch.equal(norm(x), plain(x))


@pytest.mark.parametrize('sizes', [(3, 1), (1, 3), (0, 4)])
@pytest.mark.parametrize('split', ['shared', 'clean', 'aux'])
def test_parts_of_any_size(split, sizes):
    norm, plain = pair(split)
    other = copy.deepcopy(plain)
    x = torch.randn(4, 3, 6, 6)
    set_route([norm], 'split', sizes)
    parts = x.split(sizes)
    first = [plain(parts[0])] if sizes[0] else []
    statistics = copy.deepcopy(plain.state_dict())
    expected = torch.cat([*first, (other if split == 'aux' else plain)(parts[1])])
    assert torch.equal(norm(x), expected)
    if split == 'shared':
        statistics = plain.state_dict()
    for key, value in statistics.items():
        assert torch.equal(norm.state_dict()[key], value), key


@pytest.mark.parametrize('split', ['shared', 'clean'])
def test_gradients_are_those_of_two_passes(split):
    norm, plain = pair(split)
    clean, adversarial = halves()
    weights = torch.randn(4, 3, 6, 6)
    set_route([norm], 'split', (2, 2))
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


KINDS = {
    'BatchNorm1d': (nn.BatchNorm1d(4), (6, 4)),
    'BatchNorm1d of sequences': (nn.BatchNorm1d(4, momentum=None), (6, 4, 5)),
    'BatchNorm2d': (nn.BatchNorm2d(4, eps=1e-3, momentum=0.01), (6, 4, 5, 5)),
    'BatchNorm3d': (nn.BatchNorm3d(4), (6, 4, 2, 5, 5)),
    'without weights': (nn.BatchNorm1d(4, affine=False), (6, 4)),
    'without statistics': (nn.BatchNorm2d(4, track_running_stats=False), (6, 4, 5, 5)),
}


@pytest.mark.parametrize('norm, shape', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('split', ['shared', 'clean', 'aux'])
def test_converted_layers_are_the_same_and_normalize_parts_apart(norm, shape, split):
    plain = copy.deepcopy(norm)
    model = nn.Sequential(copy.deepcopy(norm), nn.Identity())
    parameters = list(model.parameters())
    assert SplitBN.convert(model, split) == ['0']
    assert all(p is q for p, q in zip(model[0].parameters(recurse=False), parameters, strict=True))
    stripped = {k: v for k, v in model.state_dict().items() if '.aux.' not in k}
    assert list(stripped) == [f'0.{key}' for key in plain.state_dict()]
    auxiliary = copy.deepcopy(plain) if split == 'aux' else plain
    x = torch.randn(shape)
    set_route([model[0]], 'split', (4, 2))
    assert torch.equal(model(x), torch.cat([plain(x[:4]), auxiliary(x[4:])]))


class Frozen(nn.Sequential):
    def train(self, mode=True):
        super().train(mode)
        return self.eval() if mode else self


class Activated(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


def test_what_conversion_leaves_alone():
    twice = nn.BatchNorm2d(4)
    model = nn.ModuleDict(
        dict(
            backbone=Frozen(nn.BatchNorm2d(4)),
            neck=nn.ModuleList([twice, nn.GroupNorm(2, 4), twice, Activated(4)]),
            roi_head=nn.Sequential(nn.BatchNorm2d(4)),
        )
    )
    assert SplitBN.convert(model, 'clean', keep=('roi_head',)) == ['neck.0']
    assert model['neck'][0] is model['neck'][2]
    for layer in (model['backbone'][0], model['roi_head'][0], model['neck'][3]):
        assert not isinstance(layer, SplitBN)
    assert SplitBN.convert(nn.Sequential(nn.LayerNorm(4)), 'aux') == []


def test_synchronized_layers_stay_so():
    model = nn.Sequential(nn.SyncBatchNorm(4), nn.BatchNorm2d(4))
    SplitBN.convert(model, 'shared')
    assert [layer.sync for layer in model] == [True, False]


def test_initializers_and_settings_still_find_converted_layers():
    """By the names that MMEngine looks for: of the class or of its direct bases."""
    model = nn.Sequential(nn.BatchNorm2d(4))
    SplitBN.convert(model, 'clean')
    assert '_BatchNorm' in [base.__name__ for base in type(model[0]).__bases__]
    assert isinstance(model[0], nn.modules.batchnorm._BatchNorm)


def test_models_of_the_libraries_are_converted_wherever_their_norms_are():
    """YOLOv3's neck and head, whose norms no config names; MMPretrain's ResNet."""
    head = dict(type='mmdet.YOLOV3Head', num_classes=3, in_channels=[8, 8], out_channels=[8, 8],
                anchor_generator=dict(type='mmdet.YOLOAnchorGenerator', strides=[32, 16],
                                      base_sizes=[[(9, 9)], [(5, 5)]]),
                featmap_strides=[32, 16])
    for cfg in (head, dict(type='mmpretrain.ResNet', depth=18)):
        model = MODELS.build(cfg)
        count = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        assert count and len(SplitBN.convert(model, 'clean')) == count


def test_a_batch_of_another_size_is_refused():
    norm, _ = pair('shared')
    set_route([norm], 'split', (2, 2))
    with pytest.raises(UserError, match='2 clean and 2 adversarial images, got 3 samples'):
        norm(torch.randn(3, 3, 4, 4))


@pytest.mark.parametrize(
    'make, named',
    [
        (lambda: SplitBN(3, split='both'), "got 'both'"),
        (lambda: set_route([], 'both'), "got 'both'"),
        (lambda: set_route([], 'split'), "got 'split' and None"),
        (lambda: set_route([], 'main', (1, 1)), "got 'main' and"),
    ],
)
def test_unknown_values(make, named):
    with pytest.raises(ValueError, match=named):
        make()


@pytest.mark.parametrize('route, sizes', [('main', None), ('split', (1, 1))])
def test_one_value_per_channel_takes_the_running_statistics(route, sizes):
    """One image of 128 px at the top of a pyramid; BatchNorm raises there."""
    norm, plain = pair('shared')
    x = torch.randn(2 if sizes else 1, 3, 1, 1)
    set_route([norm], route, sizes)
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
from projects.dat.runtime.errors import UserError
from projects.dat.training.split_bn import SplitBN, set_route

dist.init_process_group('gloo')
rank = dist.get_rank()
for split in 'shared', 'clean':
    torch.manual_seed(0)
    x, weights = torch.randn(2, 4, 3, 5, 5).double() + 100
    plain = nn.BatchNorm2d(3, eps=1e-3, momentum=0.01)
    nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    norm = SplitBN(3, split, sync=True, eps=1e-3, momentum=0.01)
    norm.load_state_dict(plain.state_dict())
    set_route([norm], 'split', (1, 1))
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
