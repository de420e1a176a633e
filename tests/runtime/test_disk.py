"""A disk that takes no more is a sentence that names what has been saved."""

import errno
import os

import pytest
import torch

from projects.dat.runtime.disk import writing_to
from projects.dat.runtime.errors import UserError


def failure(code, filename=None):
    return OSError(code, os.strerror(code), filename)


def told(error, work_dir, **options):
    with pytest.raises(UserError) as caught, writing_to(str(work_dir), **options):
        raise error
    return str(caught.value)


def save(file, at, cut=None):
    torch.save(dict(w=torch.zeros(1000)), file)
    if cut is not None:
        os.truncate(file, cut)
    os.utime(file, (at, at))


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(tmp_path, code):
    sentence = told(failure(code), tmp_path, resumable=True)
    assert sentence.startswith(f'cannot write to {tmp_path} ({os.strerror(code)}): free some space')
    assert sentence.endswith('no checkpoint has been saved yet')


@pytest.mark.parametrize('code', [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR])
def test_folder_that_cannot_be_written_to(tmp_path, code):
    sentence = told(failure(code, str(tmp_path / 'a' / 'log')), tmp_path / 'a')
    assert f'cannot write to {tmp_path}/a/log (' in sentence
    assert sentence.endswith('--work-dir')


def test_last_good_checkpoint_is_named(tmp_path):
    save(tmp_path / 'epoch_9.pth', at=1)
    save(tmp_path / 'epoch_10.pth', at=2)
    save(tmp_path / 'epoch_11.pth', at=3, cut=700)
    save(tmp_path / 'epoch_12.pth', at=4, cut=0)
    sentence = told(failure(errno.ENOSPC), tmp_path, resumable=True)
    assert 'delete epoch_12.pth and epoch_11.pth, which are incomplete,' in sentence
    assert sentence.endswith(f'--resume {tmp_path}/epoch_10.pth')
    assert 'epoch' not in told(failure(errno.ENOSPC), tmp_path)


@pytest.mark.parametrize('error', [
    failure(errno.EACCES, '/elsewhere/image.jpg'),
    failure(errno.ENOENT, 'image.jpg'),
    RuntimeError('a bug'),
])
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as caught, writing_to(str(tmp_path)):
        raise error
    assert caught.value is error
