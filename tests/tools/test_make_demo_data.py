"""The demo data: the same bytes for the same seed, and boxes that fit what is drawn."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy.ndimage import binary_erosion, label

from projects.dat.runtime.errors import UserError
from tools import demo_objects
from tools.make_demo_data import PHOTOGRAPHS, make_demo_data, make_scene

SPLITS = ('train2017', 'val2017')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('demo') / 'data', train=8, val=4, size=128)


def _bytes(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob('*') if f.is_file()}


def test_same_parameters_same_bytes_and_other_seed_others(data, tmp_path):
    again = make_demo_data(tmp_path / 'again', train=8, val=4, size=128)
    assert _bytes(again) == _bytes(data)
    other = make_demo_data(tmp_path / 'other', train=8, val=4, size=128, seed=1)
    assert _bytes(other)['train2017/000000.jpg'] != _bytes(data)['train2017/000000.jpg']


def test_more_images_leave_the_first_as_they_were(data, tmp_path):
    more = _bytes(make_demo_data(tmp_path / 'more', train=9, val=4, size=128))
    assert all(more[f'train2017/{i:06d}.jpg'] == _bytes(data)[f'train2017/{i:06d}.jpg']
               for i in range(8))


@pytest.mark.parametrize('split', SPLITS)
def test_coco_format(data, split):
    coco = COCO(data / 'annotations' / f'instances_{split}.json')
    names = [c['name'] for c in coco.loadCats(coco.getCatIds())]
    assert tuple(names) == demo_objects.CLASSES
    assert len(coco.imgs) == {'train2017': 8, 'val2017': 4}[split]
    for image in coco.imgs.values():
        assert Image.open(data / split / image['file_name']).size == (128, 128)
        objects = coco.loadAnns(coco.getAnnIds(imgIds=image['id']))
        assert 1 <= len(objects) <= 3
        for entry in objects:
            x, y, w, h = entry['bbox']
            assert min(x, y) > 0 and max(x + w, y + h) < 128
            assert 0 < entry['area'] <= w * h
            assert max(w, h) <= 0.66 * 128 + 2  # and a rounding


def test_splits_share_no_photograph():
    assert not set(PHOTOGRAPHS['train2017']) & set(PHOTOGRAPHS['val2017'])


@pytest.mark.parametrize('seed', range(20))
def test_masks_cover_what_is_drawn(seed):
    plain = np.full((200, 200, 3), 128, np.uint8)
    picture, objects = make_scene([plain], 128, np.random.default_rng(seed))
    background = np.median(picture.reshape(-1, 3), axis=0)
    drawn = (picture != background).any(-1)
    union = np.any([mask for _, mask in objects], axis=0)
    assert sum(mask.sum() for _, mask in objects) == union.sum()
    # Anti-aliased rims are drawn on both sides of a mask's border, nothing else is; erosion takes
    # them away but for pixels between two rims.
    assert not (union & ~drawn).any()
    assert (binary_erosion(drawn, np.ones((3, 3))) & ~union).sum() < 0.01 * union.sum()
    assert np.abs(np.subtract(_box(union), _box(drawn))).max() <= 2


def _box(mask):
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max(), y.max()


@pytest.mark.parametrize('index', range(len(demo_objects.CLASSES)))
@pytest.mark.parametrize('side', [25, 60, 130])
def test_objects_have_the_side_that_was_asked_for(index, side):
    for seed in range(4):
        colors, alpha = demo_objects.draw_object(index, side, np.random.default_rng(seed))
        assert colors.shape == alpha.shape + (3,)
        assert alpha.min() >= 0 and alpha.max() == 1
        assert abs(max(alpha.shape) - side) <= 2
        assert colors.min() >= 0 and colors.max() <= 255


def _holes(alpha):
    regions = label(np.pad(alpha < 0.5, 1, constant_values=True))[1]
    return regions - 1


def test_shapes_are_what_their_names_say():
    areas, holes = {}, {}
    for index, name in enumerate(demo_objects.CLASSES):
        _, alpha = demo_objects.draw_object(index, 100, np.random.default_rng(3))
        holes[name] = _holes(alpha)
    assert holes == {'ring': 1, 'triangle': 0, 'star': 0, 'cross': 0, 'square': 0}
    # Areas over the circumscribed circle's square of the radius, from geometry.
    expected = {
        'ring': np.pi * (1 - 0.44**2),
        'triangle': 3 * np.sqrt(3) / 4,
        'star': 10 * 0.5 * 0.45 * np.sin(np.pi / 5),
        'square': 2.0,
        'cross': 4 * 2 * 0.34 * (1 - 0.34) + (2 * 0.34) ** 2,
    }
    grid = np.linspace(-1.2, 1.2, 601)
    points = np.stack(np.meshgrid(grid, grid), -1)
    for index, name in enumerate(demo_objects.CLASSES):
        inside = demo_objects._distance(index, points) < 0
        areas[name] = inside.sum() * (grid[1] - grid[0]) ** 2
    assert areas == pytest.approx(expected, rel=0.01)


def test_finished_data_is_kept_and_other_parameters_replace_it(tmp_path):
    out = make_demo_data(tmp_path / 'd', train=2, val=1, size=64)
    stamp = (out / 'demo_data.json').stat().st_mtime_ns
    make_demo_data(out, train=2, val=1, size=64)
    assert (out / 'demo_data.json').stat().st_mtime_ns == stamp
    make_demo_data(out, train=1, val=1, size=64)
    assert len(list((out / 'train2017').iterdir())) == 1
    assert [f.name for f in tmp_path.iterdir()] == ['d']


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('precious')
    with pytest.raises(UserError, match='is no demo data set'):
        make_demo_data(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ['mine.txt']


def test_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('tools.make_demo_data.json.dumps', lambda x: interrupt()
                        if 'images' in x else '{}')
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / 'd', train=1, val=1, size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('bad', [dict(train=0), dict(val=0), dict(size=32), dict(seed=-1)])
def test_bad_numbers(tmp_path, bad):
    with pytest.raises(UserError, match='at least'):
        make_demo_data(tmp_path / 'd', **bad)


def test_annotations_follow_the_pictures(data):
    """Inside each box of an unoccluded object there is a saturated color, as no gray photo has."""
    for split in SPLITS:
        content = json.loads((data / 'annotations' / f'instances_{split}.json').read_text())
        assert {a['category_id'] for a in content['annotations']} <= set(range(1, 6))
        for entry in content['annotations']:
            x, y, w, h = entry['bbox']
            picture = np.asarray(Image.open(data / split / f'{entry["image_id"]:06d}.jpg'), int)
            window = picture[y:y + h, x:x + w]
            assert (np.ptp(window, axis=-1) > 90).mean() > 0.1
