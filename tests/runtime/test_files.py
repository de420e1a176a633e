"""Files are there whole or not at all, and what keeps them from being written is one sentence."""

import os
import resource
import signal

import pytest
import torch

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing


@pytest.mark.parametrize('scratch', [None, 'scratch'])
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, scratch):
    file = tmp_path / 'a/b.png'
    folder = tmp_path / scratch if scratch else file.parent
    folder.mkdir()
    for content in (b'old', b'new'):
        before = file.read_bytes() if file.exists() else None
        with replacing(file, scratch and folder) as temporary:
            assert temporary.parent == folder and temporary.suffix == '.png'
            temporary.write_bytes(content)
            assert (file.read_bytes() if file.exists() else None) == before
        assert file.read_bytes() == content
    with pytest.raises(ZeroDivisionError), replacing(file, scratch and folder) as temporary:
        temporary.write_bytes(b'half')
        raise ZeroDivisionError
    assert file.read_bytes() == b'new'
    assert [f for f in tmp_path.rglob('*') if f.is_file()] == [file]


WRITERS = {
    'bytes': lambda file: file.write_bytes(bytes(400_000)),
    'torch.save': lambda file: torch.save(torch.zeros(100_000), file),
}


@pytest.fixture
def small_disk():
    """No file may grow beyond 100 kB in this process: as good as a full disk, for each writer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_a_full_disk(tmp_path, small_disk, write):
    with (
        pytest.raises(UserError, match=r'a\.pth cannot be written \(File too large\): make room'),
        replacing(tmp_path / 'a.pth') as temporary,
    ):
        write(temporary)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_a_folder_that_cannot_be_written(tmp_path, write):
    (tmp_path / 'file').touch()
    for path, scratch in (('file/a.pth', None), ('a.pth', tmp_path / 'none')):
        with (
            pytest.raises(UserError, match=rf'{path} cannot be written \('),
            replacing(tmp_path / path, scratch) as temporary,
        ):
            write(temporary)
    assert os.listdir(tmp_path) == ['file']
