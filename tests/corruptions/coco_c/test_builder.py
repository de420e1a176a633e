"""Building a tree: right pixels, and the same tree however it comes about."""

import errno
import json
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image

from projects.dat.corruptions import transform
from projects.dat.corruptions.coco_c import builder, tree
from projects.dat.corruptions.coco_c.cell_worker import Task
from projects.dat.corruptions.names import BENCHMARK, SEVERITIES
from projects.dat.runtime.errors import UserError
from tests.corruptions.coco_c.tree_case import (
    CELLS,
    built,
    contents,
    identities,
    recorded,
    sha256sum,
    start,
    write_annotations,
    write_set,
)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('set'))


@pytest.fixture(scope='module')
def whole(source, tmp_path_factory):
    return built(source, tmp_path_factory.mktemp('whole') / 'tree')


def test_layout(source, whole):
    names = {f'sub/{i}.png' if i % 2 else f'{i}.png' for i in range(6)}
    images = {f'{name}/{severity}/{file}' for name, severity in CELLS for file in names}
    assert set(contents(whole)) == images | {'manifest.json', 'annotations.json'}
    before, after = (json.loads(f.read_text()) for f in (source[1], whole / 'annotations.json'))
    assert {entry['file_name'] for entry in after['images']} == names
    assert after['annotations'] == before['annotations'] and after['info'] == before['info']
    assert sha256sum(whole).returncode == 0
    assert len(recorded(whole)) == 19


def _write_odd_images(folder):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (40, 56, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(colors).save(folder / 'exif.jpg', exif=exif)
    Image.fromarray(colors).convert('CMYK').save(folder / 'cmyk.jpg')
    Image.fromarray(colors[..., 0]).save(folder / 'gray.png')
    Image.fromarray(rng.integers(0, 256, (40, 56, 4), np.uint8)).save(folder / 'alpha.png')
    cv2.imwrite(str(folder / 'deep.png'), rng.integers(0, 65536, (40, 56, 3), np.uint16))
    cv2.imwrite(str(folder / 'deep_gray.tif'), rng.integers(0, 65536, (40, 56), np.uint16))
    return sorted(os.listdir(folder))


@pytest.mark.parametrize('channel_order', ['bgr', 'rgb'])
def test_pixels_are_those_of_mmdetection_on_the_fly(tmp_path, channel_order):
    (tmp_path / 'images').mkdir()
    names = _write_odd_images(tmp_path / 'images')
    entries = [{'id': 5 * i, 'file_name': name} for i, name in enumerate(names)]
    file = write_annotations(tmp_path / 'a.json', {'images': entries})
    out = built((tmp_path / 'images', file), tmp_path / 'tree', seed=3,
                channel_order=channel_order)
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    for corruption, severity in CELLS:
        change = TRANSFORMS.build(dict(
            type='CorruptImage', corruption=corruption, severity=severity, seed=3,
            channel_order=channel_order,
        ))
        for entry in entries:
            path = tmp_path / 'images' / entry['file_name']
            results = change(load({'img_path': str(path), 'img_id': entry['id']}))
            name = tree.target_name(entry['file_name'], 'png')
            path = out / tree.cell_folder(corruption, severity) / name
            assert np.array_equal(load({'img_path': str(path)})['img'], results['img'])
    assert load({'img_path': str(out / 'contrast/5/exif.png')})['img'].shape == (56, 40, 3)


def test_jpeg_has_the_quality_asked_for(source, whole, tmp_path):
    for quality in (40, 90):
        out = built(source, tmp_path / str(quality), image_format='jpeg', quality=quality)
        for corruption, severity in CELLS:
            pixels = cv2.imread(str(whole / corruption / str(severity) / 'sub/3.png'))
            expected = cv2.imencode('.jpg', pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
            assert (out / corruption / str(severity) / 'sub/3.jpg').read_bytes() == bytes(expected)


def test_workers_and_ranks_change_nothing(source, whole, tmp_path):
    assert contents(built(source, tmp_path / 'three', workers=3)) == contents(whole)
    out = tmp_path / 'ranks'
    ranks = [start(built, source, out, rank=rank, world=3) for rank in range(3)]
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)
    assert sorted(os.listdir(out / 'digests')) == [f'{rank}-of-3.sha256' for rank in range(3)]
    share = [path for path in tree.read_digests(out) if path.endswith(('/1.png', '/4.png'))]
    assert len((out / 'digests/1-of-3.sha256').read_bytes().splitlines()) == len(share) == 6


def test_more_corruptions_later(source, whole, tmp_path):
    out = built(source, tmp_path / 'tree', CELLS[:1])
    before = identities(out)
    built(source, out, CELLS[1:])
    assert all(identities(out)[file] == before[file] for file in before)
    assert contents(out) == contents(whole)
    assert recorded(out) == recorded(whole)


def test_another_seed_is_refused(source, whole):
    before = identities(whole)
    with pytest.raises(UserError, match='begun with seed 0, but this run has seed 1'):
        builder.build(*source, whole, CELLS, seed=1)
    assert identities(whole) == before and not (whole / '.building').exists()


def test_images_that_cannot_be_built_are_reported(source, whole, tmp_path):
    images, file = write_set(tmp_path)
    (images / '0.png').unlink()
    (images / 'sub/1.jpg').write_bytes(b'no image')
    (images / '2.png').write_bytes(b'')
    cv2.imwrite(str(images / 'sub/3.jpg'), np.zeros((20, 60, 3), np.uint8))
    (images / '4.png').unlink()
    (images / '4.png').mkdir()
    report = builder.build(images, file, tmp_path / 'tree', CELLS, workers=2)
    assert all(len(reasons) == 1 for reasons in report.failures.values())
    reasons = {name: texts[0] for name, texts in report.failures.items()}
    assert reasons.keys() == {'0.png', 'sub/1.jpg', '2.png', 'sub/3.jpg', '4.png'}
    assert f'{images}/0.png cannot be read (No such file' in reasons['0.png']
    assert f'{images}/sub/1.jpg is truncated or is no image (8 bytes)' in reasons['sub/1.jpg']
    assert f'{images}/2.png is truncated or is no image (0 bytes)' in reasons['2.png']
    assert f'{images}/sub/3.jpg: ' in reasons['sub/3.jpg'] and '32' in reasons['sub/3.jpg']
    assert 'directory' in reasons['4.png']
    assert report.cells == 3
    rest = [f'{name}/{severity}/sub/5.png' for name, severity in CELLS]
    assert sorted(rest) == sorted(p for p in contents(tmp_path / 'tree') if p.endswith('.png'))
    shutil.rmtree(images)
    shutil.copytree(source[0], images)
    assert contents(built((images, file), tmp_path / 'tree')) == contents(whole)


def test_links_that_lead_out_are_refused(tmp_path):
    images, file = write_set(tmp_path)
    (images / '2.png').rename(tmp_path / 'outside.png')
    (images / '2.png').symlink_to(tmp_path / 'outside.png')
    with pytest.raises(UserError, match="'2.png' in .*set.json leaves the image folder"):
        builder.build(images, file, tmp_path / 'tree', CELLS)
    assert not (tmp_path / 'tree').exists()


def test_an_error_in_a_corruption_costs_one_cell(source, tmp_path, monkeypatch):
    def corrupt(image, name, severity, seed):
        if name == 'contrast':
            raise ZeroDivisionError('oh')
        return image

    monkeypatch.setattr(transform, 'corrupt', corrupt)
    report = builder.build(*source, tmp_path / 'tree', CELLS)
    assert report.failures == {
        name: [f'{source[0] / name}: contrast/5 failed: ZeroDivisionError: oh']
        for name in (f'sub/{i}.jpg' if i % 2 else f'{i}.png' for i in range(6))
    }
    assert report.cells == 12


def _full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')


@pytest.mark.parametrize(
    'harm, words',
    [
        (lambda *_: os.kill(os.getpid(), signal.SIGKILL), 'worker process was killed'),
        (_full, 'png cannot be written .No space left on device.*start the same command again'),
    ],
)
def test_trouble_that_ends_a_build(source, whole, tmp_path, monkeypatch, harm, words):
    out = tmp_path / 'tree'
    built(source, out, CELLS[:1])
    with monkeypatch.context() as patch, pytest.raises(UserError, match=words):
        patch.setattr(Path, 'write_bytes', harm)
        builder.build(*source, out, CELLS, workers=2)
    assert contents(built(source, out)) == contents(whole)


def test_workers_decode_once_and_use_one_thread(source, tmp_path, monkeypatch):
    decode = mmcv.imfrombytes

    def imfrombytes(*args, **kwargs):
        (tmp_path / 'log').open('a').write(f'{cv2.getNumThreads()}\n')
        return decode(*args, **kwargs)

    monkeypatch.setattr(mmcv, 'imfrombytes', imfrombytes)
    monkeypatch.setattr(builder, '_check_disk_space', lambda *_: None)
    built(source, tmp_path / 'tree', workers=2)
    assert (tmp_path / 'log').read_text().split() == ['1'] * 6


Usage = namedtuple('Usage', 'total used free')


def test_disk_space(source, whole, tmp_path, monkeypatch, caplog):
    """The estimate is near the truth, counts only what remains, and a refusal names both."""
    size = sum(file.stat().st_size for file in identities(whole))
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**9, 0, int(size * 0.8)))
    with pytest.raises(UserError, match=r'18 image-cells .* need about .*kB, but .*kB free'):
        builder.build(*source, tmp_path / 'tree', CELLS)
    assert not (tmp_path / 'tree').exists()
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**9, 0, int(size * 1.25)))
    built(source, tmp_path / 'tree', CELLS[:2])
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**9, 0, int(size * 0.8)))
    with caplog.at_level('INFO', 'projects.dat'):
        built(source, tmp_path / 'tree')
    assert '6 image-cells remain' in caplog.text
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(10**9, 0, 0))
    built(source, tmp_path / 'tree')


def test_samples_cover_corruptions_severities_and_images():
    cells = tuple((name, severity) for name in BENCHMARK for severity in SEVERITIES)
    tasks = [Task(tree.SourceImage(i, f'{i}.png', f'{i}.png'), cells) for i in range(100)]
    tasks[::2] = [Task(task.image, ()) for task in tasks[::2]]
    samples = builder._choose_samples(tasks)
    assert {name for _, (name, _) in samples} == set(BENCHMARK)
    assert {severity for _, (_, severity) in samples} == set(SEVERITIES)
    assert len({image for image, _ in samples}) == len(samples)
    assert all(image.image_id % 2 for image, _ in samples)
    assert max(image.image_id for image, _ in samples) > 90
