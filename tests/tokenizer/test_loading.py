import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import torch
from filelock import FileLock, Timeout

from projects.dat.tokenizer import FastVQGAN, TokenizerError, load_tokenizer, published
from projects.dat.tokenizer.published import PUBLISHED, Preset


class Server:
    """Answers requests.get from memory, as an HTTP server that knows ranges; may break off."""

    def __init__(self, content: bytes):
        self.content = content
        self.break_after = None
        self.ranges = []

    def get(self, url, headers, stream, timeout):
        start = int(headers.get('Range', 'bytes=0-')[6:-1])
        self.ranges.append(start)
        response = requests.Response()
        if start and start >= len(self.content):
            response.status_code, response.raw = 416, io.BytesIO()
            return response
        body = self.content[start:]
        response.status_code = 206 if start else 200
        response.headers['Content-Length'] = str(len(body))
        response.raw = io.BytesIO(body[: self.break_after])
        return response


@pytest.fixture
def content():
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(FastVQGAN(width=8, num_tokens=16).state_dict(), buffer)
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publishes bytes as the preset 'remote'; gives the server and the file in the cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(published, '_CHUNK', 1000)

    def publish(content, **options):
        server = Server(content)
        monkeypatch.setattr(requests, 'get', server.get)
        preset = Preset('http://x/f', 'remote.pth', size='small', license='MIT', **options)
        monkeypatch.setitem(PUBLISHED, 'remote', preset)
        return server, tmp_path / 'dat-mmdet' / 'remote.pth'

    return publish


def files(folder):
    return [path for path in folder.iterdir() if path.suffix != '.lock']


def test_downloads_once(publish, content):
    server, path = publish(content)
    load_tokenizer('remote')
    load_tokenizer('remote')
    assert server.ranges == [0]
    assert path.read_bytes() == content
    assert files(path.parent) == [path]


def test_a_broken_download_goes_on_where_it_stopped(publish, content):
    server, path = publish(content)
    server.break_after = 2500
    with pytest.raises(TokenizerError, match='try again to go on where it stopped'):
        load_tokenizer('remote')
    assert not path.exists()
    server.break_after = None
    load_tokenizer('remote')
    assert server.ranges == [0, 2500]
    assert path.read_bytes() == content


def test_a_download_that_was_complete_is_only_renamed(publish, content):
    server, path = publish(content)
    path.parent.mkdir()
    path.with_suffix('.partial').write_bytes(content)
    load_tokenizer('remote')
    assert path.read_bytes() == content


def zipped(content, member):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


def test_a_zip_is_unpacked(publish, content):
    _, path = publish(zipped(content, 'model.ckpt'), member='model.ckpt')
    load_tokenizer('remote')
    assert path.read_bytes() == content
    assert files(path.parent) == [path]


def test_a_zip_without_the_member(publish, content):
    _, path = publish(zipped(content, 'other'), member='model.ckpt')
    with pytest.raises(TokenizerError, match='expected a zip with model.ckpt'):
        load_tokenizer('remote')
    assert files(path.parent) == []


@pytest.mark.parametrize('how', ['argument', 'environment'])
def test_offline_names_where_to_put_the_file(publish, content, monkeypatch, how):
    server, path = publish(content)
    if how == 'environment':
        monkeypatch.setenv('DAT_OFFLINE', '1')
    with pytest.raises(TokenizerError) as error:
        load_tokenizer('remote', offline=True if how == 'argument' else None)
    assert str(path) in str(error.value) and 'http://x/f' in str(error.value)
    assert server.ranges == []
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    load_tokenizer('remote', offline=True)


@pytest.mark.parametrize('error', [requests.ConnectionError('no route'), requests.Timeout('slow')])
def test_no_network(publish, content, monkeypatch, error):
    _, path = publish(content)

    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(requests, 'get', refuse)
    with pytest.raises(TokenizerError) as raised:
        load_tokenizer('remote')
    assert str(path) in str(raised.value) and '\n' not in str(raised.value)


def test_processes_that_want_it_at_once_share_one_download(publish, content):
    server, path = publish(content)
    path.parent.mkdir()
    other = FileLock(path.with_suffix('.lock'))
    with ThreadPoolExecutor() as pool:
        with other:
            waiting = pool.submit(load_tokenizer, 'remote')
            path.write_bytes(content)
        assert waiting.result().codebook.shape == (16, 4)
    assert server.ranges == []


def test_nobody_else_downloads_meanwhile(publish, content, monkeypatch):
    server, path = publish(content)

    def get(*args, **kwargs):
        with pytest.raises(Timeout):
            FileLock(path.with_suffix('.lock'), timeout=0).acquire()
        return server.get(*args, **kwargs)

    monkeypatch.setattr(requests, 'get', get)
    load_tokenizer('remote')
    assert server.ranges == [0]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(TokenizerError, match='openimages_f8_16384'):
        load_tokenizer('openimages_f9')


def test_published_presets_state_what_is_known():
    assert PUBLISHED.keys() >= {'openimages_f8_16384', 'imagenet_f16_16384'}
    for preset in PUBLISHED.values():
        assert preset.url.startswith(('http://', 'https://'))
        assert preset.size and preset.license
