import errno
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch

from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import (
    FastVQGAN,
    TokenizerError,
    build_network,
    load_tokenizer,
    read_state_dict,
    write_state_dict,
)


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    return FastVQGAN(width=8, num_tokens=16).state_dict()


def save(path, weights):
    save_file = safetensors.torch.save_file if path.suffix == '.safetensors' else None
    (save_file or (lambda content, to: torch.save(content, to)))(weights, path)
    return path


@pytest.mark.parametrize('suffix', ['.pth', '.ckpt', '.safetensors'])
def test_every_kind_of_file_loads(tmp_path, weights, suffix):
    tokenizer = load_tokenizer(save(tmp_path / f'tokenizer{suffix}', weights))
    assert all(torch.equal(v, weights[k]) for k, v in tokenizer.network.state_dict().items())


def test_published_files_carry_more(tmp_path, weights):
    """Nested under state_dict, with the loss network and Lightning's own entries."""
    content = dict(
        state_dict={**weights, 'loss.discriminator.main.0.weight': torch.zeros(4)},
        optimizer_states=[dict(step=3)],
        epoch=7,
    )
    torch.save(content, tmp_path / 'last.ckpt')
    assert read_state_dict(tmp_path / 'last.ckpt').keys() == weights.keys()


@pytest.fixture
def lightning(monkeypatch):
    """A module that exists while a file is written and no longer when it is read."""
    module = types.ModuleType('pytorch_lightning.callbacks')
    module.ModelCheckpoint = type('ModelCheckpoint', (), {'__module__': module.__name__})
    monkeypatch.setitem(sys.modules, 'pytorch_lightning', types.ModuleType('pytorch_lightning'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_lightning_callbacks_need_no_lightning(tmp_path, weights, lightning, monkeypatch):
    callbacks = {lightning.ModelCheckpoint: dict(best_model_path='x')}
    torch.save(dict(state_dict=weights, callbacks=callbacks), tmp_path / 'last.ckpt')
    monkeypatch.undo()
    assert read_state_dict(tmp_path / 'last.ckpt').keys() == weights.keys()


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def test_nothing_in_a_file_is_executed(tmp_path, weights):
    content = dict(state_dict=weights, extra=Malicious(str(tmp_path / 'executed')))
    torch.save(content, tmp_path / 'evil.pth')
    with pytest.raises(TokenizerError, match='evil.pth: expected a complete PyTorch checkpoint'):
        read_state_dict(tmp_path / 'evil.pth')
    assert not (tmp_path / 'executed').exists()


def test_writing_is_complete_or_not_at_all(tmp_path, weights, monkeypatch):
    path = tmp_path / 'new' / 'tokenizer.safetensors'
    write_state_dict(weights, path, metadata=dict(config='x.py'))
    with safetensors.safe_open(path, 'pt') as file:
        assert file.metadata() == dict(config='x.py')
    before = path.read_bytes()

    def fail(file, content):
        file.open('wb').write(b'half')
        raise OSError(errno.ENOSPC, 'disk full')

    monkeypatch.setattr(Path, 'write_bytes', fail)
    with pytest.raises(UserError, match='safetensors cannot be written .disk full'):
        write_state_dict(weights, path, metadata={})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_written_weights_are_fp16(tmp_path, weights):
    path = tmp_path / 'tokenizer.safetensors'
    write_state_dict(weights, path, metadata={})
    found = load_tokenizer(path).network.state_dict()
    for key, value in weights.items():
        assert found[key].dtype == torch.float32
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-6)


def test_unknown_suffix(tmp_path):
    with pytest.raises(TokenizerError, match='expected a file ending in .ckpt, .pth, .safetensors'):
        load_tokenizer(tmp_path / 'tokenizer.onnx')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('content', ['missing', 'empty', 'truncated', 'html'])
def test_files_that_cannot_be_read(tmp_path, weights, suffix, content):
    path = tmp_path / f'tokenizer{suffix}'
    if content != 'missing':
        whole = save(path, weights).read_bytes()
        path.write_bytes(dict(empty=b'', truncated=whole[:-999], html=b'<html>404</html>')[content])
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(path)
    message = str(error.value)
    assert message.startswith(f'{path}: expected') and 'found' in message
    assert '\n' not in message


def drop(key):
    return lambda weights: weights.pop(key)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.clear(), 'found none'),
        (lambda w: (w.clear(), w.update({'fc.weight': torch.zeros(2)})), 'such as fc.weight'),
        (drop('quantize.embedding.weight'), 'quantize.embedding.weight'),
        (drop('encoder.out.bias'), 'without encoder.out.bias'),
        (drop('decoder.eighth.0.conv1.weight'), 'without decoder.eighth.0.conv1.weight'),
        (lambda w: w.update({'surplus': torch.zeros(1)}), 'with the unknown surplus'),
        (
            lambda w: w.update({'encoder.out.weight': torch.zeros(9, 16, 1, 1)}),
            r'expected encoder.out.weight of shape \(4, 16, 1, 1\), found \(9, 16, 1, 1\)',
        ),
        (lambda w: w.update({'quantize.embedding.weight': torch.zeros(3)}), 'no consistent layout'),
    ],
)
def test_state_dicts_that_do_not_fit(weights, tmp_path, change, message):
    changed = dict(weights)
    change(changed)
    path = tmp_path / 'tokenizer.pth'
    torch.save(changed, path)
    with pytest.raises(TokenizerError, match=message) as error:
        load_tokenizer(path)
    assert '\n' not in str(error.value)


def test_published_layout_with_a_missing_tensor(reference):
    state_dict, _ = reference
    incomplete = {k: v for k, v in state_dict.items() if k != 'decoder.mid.attn_1.q.bias'}
    with pytest.raises(TokenizerError, match='without decoder.mid.attn_1.q.bias'):
        build_network(incomplete, 'x.ckpt')
