"""The parts of the corruptions against independent computations."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage import color

from projects.dat.corruptions import blur, hsv
from projects.dat.corruptions.filters import gaussian, gaussian_weights, motion, motion_weights
from projects.dat.corruptions.interpolation import displace, enlarge_center
from projects.dat.corruptions.weather import plasma
from tests.fixtures.make_corruption_fixtures import GAUSSIAN, MOTION


@pytest.mark.parametrize('shape', [(32, 45, 3), (67, 40, 1)])
@pytest.mark.parametrize('factor', [1.0, 1.01, 1.1, 1.3, 2, 2.5, 3, 4.5])
def test_enlarging_is_scipys(shape, factor):
    image = np.random.RandomState(0).rand(*shape).astype(np.float32)
    rows, columns = (math.ceil(side / factor) for side in shape[:2])
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    expected = ndimage.zoom(
        image[top : top + rows, left : left + columns], (factor, factor, 1), order=1
    )
    found = enlarge_center(image, factor)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert found.shape[0] >= shape[0] and found.shape[1] >= shape[1]


def test_enlarging_has_scipys_black_edge():
    """At 1536 rows the place of the last one is rounded to outside of the image."""
    image = np.ones((1536, 32, 1))
    expected = ndimage.zoom(image[512:1024, 10:21], (3, 3, 1), order=1)
    assert not expected[-1].any() and expected[-2].all()
    np.testing.assert_array_equal(enlarge_center(image, 3), expected)


@pytest.mark.parametrize('reach', [0, 0.4, 5, 100])
def test_displacing_is_scipys(reach):
    rng = np.random.RandomState(1)
    image = rng.rand(33, 50, 3).astype(np.float32)
    down, right = rng.uniform(-reach, reach, size=(2, 33, 50)).astype(np.float32)
    y, x = np.mgrid[:33, :50]
    expected = [
        ndimage.map_coordinates(image[..., i], (y + down, x + right), order=1, mode='reflect')
        for i in range(3)
    ]
    np.testing.assert_array_equal(displace(image, down, right), np.stack(expected, axis=-1))


@pytest.mark.parametrize('sigma', GAUSSIAN)
def test_gaussian(sigma):
    weights = gaussian_weights(sigma)
    assert abs(weights.sum() - 1) < 1e-15
    image = np.random.RandomState(0).rand(40, 33, 3)
    expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode='nearest')
    np.testing.assert_allclose(gaussian(image, sigma), expected, rtol=1e-14)


@pytest.mark.parametrize('radius, sigma', MOTION)
def test_motion_weights(radius, sigma):
    expected = np.exp([-(x * x) / (2 * sigma * sigma) for x in range(2 * radius + 1)])
    weights = motion_weights(radius, sigma)
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-15)


@pytest.mark.parametrize('angle', [0, 33, -40, -90, -131])
def test_motion_spreads_a_point_along_a_line(angle):
    image = np.zeros((101, 91, 1), np.uint8)
    image[50, 45] = 100
    blurred = motion(image, 10, 3, angle)[..., 0]
    expected = np.zeros((101, 91))
    for step, weight in enumerate(motion_weights(10, 3)):
        y = 50 - round(step * math.sin(math.radians(angle)))
        x = 45 - round(step * math.cos(math.radians(angle)))
        expected[y, x] += 100 * weight
    np.testing.assert_allclose(blurred, expected, atol=1e-12)


def test_motion_repeats_the_edges():
    image = np.full((40, 45, 3), 200, np.uint8)
    np.testing.assert_allclose(motion(image, 15, 8, 40), 200)


@pytest.mark.parametrize('change', ['value', 'saturation'])
def test_hsv_is_scikit_images(change):
    levels = np.array([0, 1, 2, 3, 64, 127, 128, 200, 253, 254, 255])
    rng = np.random.RandomState(0)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    colors = np.concatenate([colors, rng.randint(0, 256, size=(20000, 3))]).astype(np.uint8)
    image = colors[np.newaxis]

    def more(array):
        return np.clip(array * 1.5 + 0.1, 0, 1)

    expected = color.rgb2hsv(image / 255)
    index = {'value': 2, 'saturation': 1}[change]
    expected[..., index] = more(expected[..., index])
    expected = (np.clip(color.hsv2rgb(expected), 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(hsv.adjust(image, **{change: more}), expected)


@pytest.mark.parametrize('reach', [1, 2, 3, 4])
def test_a_glass_pass_is_one_pixel_after_the_other(reach):
    height, width = 37, 32
    found = blur._sources(height, width, reach, np.random.RandomState(5))
    rng = np.random.RandomState(5)
    expected = np.arange(height * width).reshape(height, width)
    for y in range(height - reach, reach, -1):
        for x in range(width - reach, reach, -1):
            right, down = rng.randint(-reach, reach, size=2)
            expected[y, x] = expected[y + down, x + right]
    np.testing.assert_array_equal(found.reshape(height, width), expected)


def test_plasma():
    smooth, rough = (plasma(64, decay, np.random.RandomState(0)) for decay in (3, 1.4))
    for clouds in (smooth, rough):
        assert clouds.shape == (64, 64)
        assert (clouds.min(), clouds.max()) == (0, 1)
    steps = [np.abs(np.diff(clouds, axis=0)).mean() for clouds in (smooth, rough)]
    assert steps[0] < steps[1] / 2
    # Seamless: the step over the edge is no larger than those within.
    assert np.abs(smooth[0] - smooth[-1]).max() <= np.abs(np.diff(smooth, axis=0)).max() * 1.5
