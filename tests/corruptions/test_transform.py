"""The pipeline step: which array the corruption gets, and with which seed."""

import cv2
import numpy as np
import pytest
import skimage.data
from mmdet.registry import TRANSFORMS

from projects.dat.corruptions import CORRUPTIONS, corrupt
from projects.dat.corruptions.transform import CorruptImage
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.seeds import hash_seed

# What a corruption of BGR turned to RGB, and one of RGB, have in common for the same seed.
SAME = {
    'defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur', 'gaussian_blur', 'fog', 'contrast',
    'elastic_transform', 'pixelate',
}
NEARLY = {'brightness', 'saturate'}


@pytest.fixture(scope='module')
def image():
    """BGR, the red and the blue channel unlike."""
    return np.ascontiguousarray(skimage.data.astronaut()[20:84, 180:270, ::-1])


def run(image, name, img_id=5, **options):
    return CorruptImage(name, 3, **options)(dict(img=image, img_id=img_id))['img']


def test_bgr_goes_in_as_it_is_and_rgb_is_turned(image):
    seed = hash_seed(7, 5, 'frost', 3)
    assert np.array_equal(run(image, 'frost', seed=7), corrupt(image, 'frost', 3, seed))
    rgb = np.ascontiguousarray(image[..., ::-1])
    turned = run(image, 'frost', seed=7, channel_order='rgb')
    assert np.array_equal(turned, corrupt(rgb, 'frost', 3, seed)[..., ::-1])


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_where_the_channel_order_matters(image, name):
    difference = np.abs(
        run(image, name).astype(int) - run(image, name, channel_order='rgb').astype(int)
    )
    if name in SAME:
        assert difference.max() == 0
    elif name in NEARLY:
        assert difference.mean() < 0.1
    else:
        assert difference.mean() > 0.1


def test_the_seed_is_of_run_and_image(image):
    again, base = run(image, 'shot_noise'), run(image, 'shot_noise')
    assert np.array_equal(again, base)
    assert not np.array_equal(run(image, 'shot_noise', img_id=6), base)
    assert not np.array_equal(run(image, 'shot_noise', seed=1), base)
    assert run(image, 'shot_noise', img_id='000005').shape == base.shape


@pytest.mark.parametrize('options', [{}, dict(to_float32=True), dict(color_type='grayscale')])
def test_after_mmdetections_loader(tmp_path, image, options):
    file = str(tmp_path / 'image.png')
    cv2.imwrite(file, image)
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **options))
    step = TRANSFORMS.build(dict(type='CorruptImage', corruption='fog', severity=2))
    loaded = loader(dict(img_path=file, img_id=3))
    expected = corrupt(loaded['img'].astype(np.uint8), 'fog', 2, hash_seed(0, 3, 'fog', 2))
    dtype = loaded['img'].dtype
    found = step(loaded)['img']
    assert found.dtype == dtype and found.shape == (64, 90, 3) and found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_grayscale_is_turned_as_well():
    image = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    rgb = corrupt(image, 'spatter', 4, hash_seed(0, 1, 'spatter', 4))
    step = CorruptImage('spatter', 4, channel_order='rgb')
    assert np.array_equal(step(dict(img=image, img_id=1))['img'], rgb[..., ::-1])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(corruption='smoke'), "corruption to be one of gaussian_noise.*'smoke'"),
        (dict(severity=0), 'severity to be one of 1, 2, 3, 4, 5, but got 0'),
        (dict(channel_order='hsv'), "channel_order to be one of bgr, rgb, but got 'hsv'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        CorruptImage(**{'corruption': 'fog', 'severity': 1, **options})


@pytest.mark.parametrize(
    'results, message',
    [
        (dict(img=np.zeros((40, 40, 3), np.uint8)), 'img_id'),
        (dict(img=np.zeros((20, 40, 3), np.uint8), img_id=1, img_path='s.jpg'), '^s.jpg: '),
        (dict(img=np.zeros((40, 40, 3), np.uint16), img_id=1, img_path='d.png'), '^d.png: .*uint8'),
    ],
)
def test_images_that_cannot_be_corrupted(results, message):
    with pytest.raises(UserError, match=message):
        CorruptImage('fog', 1)(results)
