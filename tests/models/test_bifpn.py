"""BiFPN against the paper's equations (arXiv:1911.09070, sections 3.2 and 3.3), node by node."""

import pytest
import torch
import torch.nn.functional as F

from projects.dat.models import BiFPN

IN_CHANNELS, CHANNELS = [3, 4, 5], 6


def conv_bn(state, name, conv, x):
    if f'{name}.depthwise_conv.weight' in state:
        x = F.conv2d(x, state[f'{name}.depthwise_conv.weight'], padding=1, groups=x.shape[1])
    x = F.conv2d(x, state[f'{name}.{conv}.weight'], state[f'{name}.{conv}.bias'])
    mean, var = state[f'{name}.bn.running_mean'], state[f'{name}.bn.running_var']
    x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt()
    return x * state[f'{name}.bn.weight'][:, None, None] + state[f'{name}.bn.bias'][:, None, None]


def unrolled(state, stage, features):
    """One BiFPN layer on P3, P4, P5 (stage 0) or P3 ... P7, with every node written out."""

    def reduce(name, x):
        return conv_bn(state, f'bifpn.{stage}.{name}', 'down_conv', x)

    def node(name, x):
        return conv_bn(state, f'bifpn.{stage}.{name}', 'pointwise_conv', x * torch.sigmoid(x))

    def weights(name):
        return [max(w.item(), 0.0) for w in state[f'bifpn.{stage}.{name}']]

    def two(name, a, b):
        v, w = weights(name)
        return (v * a + w * b) / (v + w + 1e-4)

    def three(name, a, b, c):
        u, v, w = weights(name)
        return (u * a + v * b + w * c) / (u + v + w + 1e-4)

    def up(x):
        return x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    def down(x):
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), kernel_size=3, stride=2)

    if stage == 0:
        c3, c4, c5 = features
        p3, p4, p5 = (reduce(f'p{i}_down_channel', c) for i, c in enumerate(features, start=3))
        p6 = down(reduce('p5_to_p6.0', c5))
        p7 = down(p6)
        p4_again = reduce('p4_level_connection', c4)
        p5_again = reduce('p5_level_connection', c5)
    else:
        p3, p4, p5, p6, p7 = features
        p4_again, p5_again = p4, p5

    p6_td = node('conv6_up', two('p6_w1', p6, up(p7)))
    p5_td = node('conv5_up', two('p5_w1', p5, up(p6_td)))
    p4_td = node('conv4_up', two('p4_w1', p4, up(p5_td)))
    p3_out = node('conv3_up', two('p3_w1', p3, up(p4_td)))
    p4_out = node('conv4_down', three('p4_w2', p4_again, p4_td, down(p3_out)))
    p5_out = node('conv5_down', three('p5_w2', p5_again, p5_td, down(p4_out)))
    p6_out = node('conv6_down', three('p6_w2', p6, p6_td, down(p5_out)))
    p7_out = node('conv7_down', two('p7_w2', p7, down(p6_out)))
    return p3_out, p4_out, p5_out, p6_out, p7_out


def backbone_levels(generator):
    return tuple(
        torch.randn(1, channels, 16 >> i, 32 >> i, generator=generator, dtype=torch.float64)
        for i, channels in enumerate(IN_CHANNELS))


@pytest.mark.parametrize('num_stages, start_level', [(1, 0), (3, 2)])
def test_equals_the_equations(num_stages, start_level):
    generator = torch.Generator().manual_seed(2)
    neck = BiFPN(num_stages, IN_CHANNELS, CHANNELS, start_level=start_level).double().eval()
    state = {
        key: torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.5
        for key, value in neck.state_dict().items() if value.is_floating_point()}
    for key in state:
        if key.endswith('running_var'):
            state[key] = state[key].abs() + 0.5
    neck.load_state_dict(state, strict=False)
    levels = backbone_levels(generator)

    expected = levels
    for stage in range(num_stages):
        expected = unrolled(state, stage, expected)
    with torch.no_grad():
        found = neck((torch.zeros(1),) * start_level + levels)
    assert [tuple(p.shape) for p in found] == [(1, CHANNELS, 16 >> i, 32 >> i) for i in range(5)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_level_of_negative_weights_is_finite():
    neck = BiFPN(1, IN_CHANNELS, CHANNELS).double()
    with torch.no_grad():
        neck.bifpn[0].p7_w2.fill_(-1.0)
    assert all(p.isfinite().all() for p in neck(backbone_levels(torch.Generator())))


@pytest.mark.parametrize('in_channels', [[8, 16], [8, 16, 32, 64]])
def test_wants_three_levels(in_channels):
    with pytest.raises(ValueError, match=f'three backbone levels.*found {len(in_channels)}'):
        BiFPN(1, in_channels, CHANNELS)
