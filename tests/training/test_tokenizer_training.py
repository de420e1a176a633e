import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage

from projects.dat.runtime.errors import ArgumentError, UserError
from projects.dat.tokenizer import LPIPS, TokenizerError, hinge_loss, load_lpips
from projects.dat.training import TokenizerTraining, tokenizer_training

NETWORK = dict(type='FastVQGAN', width=8, num_tokens=32)


@pytest.fixture(autouse=True)
def random_lpips(monkeypatch):
    """LPIPS of a few channels with random weights, whatever its source."""

    def load(*sources):
        generator = torch.Generator().manual_seed(0)
        monkeypatch.setattr('projects.dat.tokenizer.lpips.GROUPS', ((2, 4), (2, 4), (3, 8)))
        shapes, channels = {}, 3
        for i, width in enumerate((4, 4, 4, 4, 8, 8, 8)):
            shapes |= {f'conv{i}.weight': (width, channels, 3, 3), f'conv{i}.bias': (width,)}
            channels = width
        shapes |= {'head0': (4,), 'head1': (4,), 'head2': (8,)}
        return LPIPS({k: torch.rand(s, generator=generator) for k, s in shapes.items()})

    monkeypatch.setattr(tokenizer_training, 'load_lpips', load)


@pytest.fixture
def at_iteration():
    hub = MessageHub.get_current_instance()
    yield lambda number: hub.update_info('iter', number)
    hub.update_info('iter', 0)


def make(**options):
    torch.manual_seed(0)
    options = dict(network=NETWORK, lpips=['any'], discriminator=dict(channels=8)) | options
    return TokenizerTraining(**options).train()


def images(count=2, size=32):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def gradients(model, prefix):
    return [p.grad for name, p in model.named_parameters() if name.startswith(prefix)]


def by_hand(model, x):
    """Equations 2, 3, 6 and 7 of the paper, as one sum that autograd differentiates."""
    z = model.network.encode(x)
    tokens, commitment, _ = model.quantizer(z)
    reconstruction = model.network.decode(tokens)
    total = (reconstruction - x).abs().mean() + model.lpips(reconstruction, x).mean()
    generator = -model.discriminator(reconstruction).mean()
    last = model.network.last_layer
    norms = [torch.autograd.grad(t, last, retain_graph=True)[0].norm() for t in (total, generator)]
    weight = 0.75 * norms[0] / (norms[1] + 1e-4)
    return total + weight * generator + 0.25 * commitment, reconstruction


def test_the_networks_gradient_is_that_of_the_papers_sum():
    model = make()
    model(images(), mode='loss')  # places the codebook
    other = copy.deepcopy(model)
    losses = model(images(), mode='loss')
    total = sum(v for k, v in losses.items() if 'loss' in k)
    total.backward()
    expected, _ = by_hand(other, images())
    expected.backward()
    assert (losses['loss_image'] + losses['loss_commitment']).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    found = gradients(model, 'network')
    assert any(g is not None for g in found)
    for a, b in zip(found, gradients(other, 'network'), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_the_discriminators_gradient_is_that_of_the_hinge_loss():
    model = make()
    model(images(), mode='loss')
    other = copy.deepcopy(model)
    losses = model(images(), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    _, reconstruction = by_hand(other, images())
    loss = hinge_loss(other.discriminator(images()), other.discriminator(reconstruction.detach()))
    other.zero_grad()
    loss.backward()
    assert losses['loss_discriminator'].item() == pytest.approx(loss.item(), rel=1e-5)
    for a, b in zip(*(gradients(m, 'discriminator') for m in (model, other)), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('iteration, counts', [(0, False), (9, False), (10, True)])
def test_the_discriminator_trains_from_the_first_step_and_counts_when_told(
    iteration, counts, at_iteration
):
    model = make(discriminator_start=10)
    at_iteration(iteration)
    losses = model(images(), mode='loss')
    assert ('generator' in losses) == counts
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(g is not None for g in gradients(model, 'discriminator'))


@pytest.mark.parametrize('options', [dict(lpips=(), discriminator=None), dict(discriminator=None)])
def test_parts_can_be_left_out(options):
    model = make(**options)
    losses = model(images(), mode='loss')
    assert ('lpips' in losses) == ('lpips' not in options)
    assert not {'generator', 'loss_discriminator'} & set(losses)
    (prediction, *_) = model.eval()(images(), mode='predict')
    assert ('lpips' in prediction) == ('lpips' not in options)


def test_bf16_is_close_to_fp32():
    exact = make()(images(), mode='loss')
    rounded = make(precision='bf16')(images(), mode='loss')
    assert all(value.dtype == torch.float32 for value in rounded.values())
    assert rounded['loss_image'].item() == pytest.approx(exact['loss_image'].item(), rel=0.05)


def test_lpips_is_no_part_of_the_checkpoint():
    assert not [key for key in make().state_dict() if 'lpips' in key]


def test_fine_tuning_starts_from_the_tokenizer_tokens_and_all():
    model = TokenizerTraining(network='fast_f8_8192')
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    assert all(p.requires_grad and p.is_contiguous() for p in model.network.decoder.parameters())
    model.train()(images(size=64), mode='loss')
    moved = (model.network.quantize.embedding.weight - before['quantize.embedding.weight']).norm(
        dim=1
    )
    # 128 vectors can move 128 tokens, each by a part of the way.
    assert 0 < (moved > 1e-5).sum() <= 128


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(precision='fp8'), "expected model.precision to be one of .* got 'fp8'"),
        (dict(quantizer=dict(decy=0.9)), "model.quantizer has .*'decy'.*did you mean 'decay'"),
        (dict(quantizer=dict(decay=2)), 'expected decay and dead_below from 0 to below 1'),
        (dict(discriminator=dict(width=8)), 'model.discriminator has .* it takes channels, depth'),
    ],
)
def test_arguments_that_are_none(options, message):
    with pytest.raises(ArgumentError, match=message):
        make(**options)


def test_lpips_that_is_missing(monkeypatch):
    monkeypatch.setattr(tokenizer_training, 'load_lpips', load_lpips)
    with pytest.raises(TokenizerError, match='found no /no/such/file'):
        make(lpips=['/no/such/file'])


def test_sides_that_are_no_multiples():
    with pytest.raises(UserError, match='sides are multiples of 8, found 30 x 30'):
        make()(images(size=30), mode='loss')


def test_averaged_tokens_are_as_old_as_the_averaged_network():
    """Both halves of a tokenizer must move by the same share at a step of EMA."""
    model = make()
    averaged = ExponentialMovingAverage(model, momentum=0.1, update_buffers=True)
    averaged.update_parameters(model)
    tensors = ('quantize.embedding.weight', 'decoder.out.weight')
    for name in tensors:
        model.network.state_dict()[name].fill_(1.0)
        averaged.module.network.state_dict()[name].zero_()
    averaged.update_parameters(model)
    for name in tensors:
        assert averaged.module.network.state_dict()[name].unique().tolist() == pytest.approx([0.1])
