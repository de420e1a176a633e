"""Every corruption, as a user calls it."""

import json
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from projects.dat.corruptions import CORRUPTIONS, corrupt, weather
from projects.dat.runtime.errors import UserError
from tests.fixtures.make_corruption_fixtures import DIGESTS, cases, digest, picture

CASES = cases()


def _published():
    for row, by_name in json.loads(DIGESTS.read_text())['digests'].items():
        for name, digests in by_name.items():
            yield pytest.param(*row.split(', seed '), name, digests, id=f'{name}, {row}')


@pytest.mark.parametrize('case, seed, name, digests', _published())
def test_equals_imagecorruptions(case, seed, name, digests):
    """Bit for bit, in the environment that imagecorruptions 1.1.2 was written for."""
    image, _ = CASES[case]
    found = [digest(corrupt(image, name, severity, int(seed))) for severity in range(1, 6)]
    assert found == digests


def test_digests_are_of_all_corruptions_that_a_seed_repeats():
    for by_name in json.loads(DIGESTS.read_text())['digests'].values():
        assert by_name.keys() == set(CORRUPTIONS) - {'impulse_noise'}


@pytest.mark.parametrize('severity, amount', enumerate((0.03, 0.06, 0.09, 0.17, 0.27), start=1))
def test_impulse_noise(severity, amount):
    """The share that is hit, half of it salt; nothing else is touched."""
    image = np.random.RandomState(1).randint(1, 255, size=(300, 400, 3)).astype(np.uint8)
    noisy = corrupt(image, 'impulse_noise', severity, seed=2)
    hit = noisy != image
    assert set(np.unique(noisy[hit])) == {0, 255}
    # Five standard deviations of a binomial distribution.
    assert abs(hit.mean() - amount) < 5 * np.sqrt(amount * (1 - amount) / hit.size)
    assert abs((noisy[hit] == 255).mean() - 0.5) < 5 * 0.5 / np.sqrt(hit.sum())
    assert abs(hit.all(axis=2).mean() - amount**3) < 5 * np.sqrt(amount**3 / hit[..., 0].size)


def test_impulse_noise_is_that_of_scikit_image_0_18():
    """Which drew from numpy's global generator, and so was repeated by a seed."""
    image = picture(48, 64)
    for severity, amount in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), start=1):
        legacy = np.random.RandomState(7)
        flipped = legacy.choice([True, False], size=image.shape, p=[amount, 1 - amount])
        salted = legacy.choice([True, False], size=image.shape, p=[0.5, 0.5])
        expected = np.where(flipped, np.where(salted, 255, 0), image)
        np.testing.assert_array_equal(corrupt(image, 'impulse_noise', severity, 7), expected)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_depends_on_its_arguments_alone(name):
    image = picture(48, 64)
    original = image.copy()
    image.flags.writeable = False
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    first = corrupt(image, name, 3, seed=11)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.random(5)
    second = corrupt(image, name, np.int64(3), seed=np.uint32(11))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, original)
    assert first.dtype == np.uint8 and first.shape == image.shape
    assert first.flags.writeable and not np.shares_memory(first, image)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_layouts(name):
    """Grey is an image with three equal channels; the layout in memory does not matter."""
    image = picture(48, 64)
    gray = image[..., 0]
    expected = corrupt(np.stack([gray] * 3, axis=-1), name, 2, seed=0)
    np.testing.assert_array_equal(corrupt(gray, name, 2, seed=0), expected)
    np.testing.assert_array_equal(corrupt(gray[..., np.newaxis], name, 2, seed=0), expected)
    turned = np.ascontiguousarray(image[..., ::-1])
    expected = corrupt(turned, name, 2, seed=0)
    np.testing.assert_array_equal(corrupt(image[..., ::-1], name, 2, seed=0), expected)


def test_spatter_without_a_drop_leaves_the_image():
    image = picture(32, 32)
    spattered = corrupt(image, 'spatter', 1, seed=81)
    assert np.abs(spattered.astype(int) - image).max() <= 1


@pytest.fixture
def no_frost_pictures():
    weather._frost_picture.cache_clear()
    yield
    weather._frost_picture.cache_clear()


@pytest.mark.parametrize(
    'origin, message', [(None, 'not installed; run pip'), ('elsewhere', 'frost.*cannot be read')]
)
def test_frost_without_its_pictures(no_frost_pictures, monkeypatch, tmp_path, origin, message):
    package = origin and ModuleSpec('imagecorruptions', None, origin=f'{tmp_path / origin}')
    monkeypatch.setattr(weather, 'find_spec', lambda name: package)
    with pytest.raises(UserError, match=message):
        corrupt(picture(32, 32), 'frost', 1, seed=0)


GOOD = {'image': picture(32, 32), 'name': 'fog', 'severity': 3, 'seed': 0}


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'image': picture(31, 64)}, 'at least 32 pixels high and wide, not 31 x 64'),
        ({'image': picture(64, 31)}, 'at least 32 pixels high and wide, not 64 x 31'),
        ({'image': np.zeros((40, 40, 4), np.uint8)}, r'not \(40, 40, 4\)'),
        ({'image': np.zeros(4000, np.uint8)}, r'not \(4000,\)'),
        ({'image': np.zeros((1, 40, 40, 3), np.uint8)}, r'not \(1, 40, 40, 3\)'),
        ({'image': np.zeros((40, 40, 3))}, 'uint8 array, not float64'),
        ({'image': np.zeros((40, 40, 3), np.uint16)}, 'uint8 array, not uint16'),
        ({'image': [[0] * 40] * 40}, 'uint8 array, not list'),
        ({'image': None}, 'uint8 array, not NoneType'),
        ({'name': 'rain'}, "no corruption 'rain'; take one of gaussian_noise, .*, saturate"),
        ({'name': None}, 'no corruption None'),
        ({'severity': 0}, '1, 2, 3, 4 or 5, not 0'),
        ({'severity': 6}, '1, 2, 3, 4 or 5, not 6'),
        ({'severity': '3'}, "1, 2, 3, 4 or 5, not '3'"),
        ({'seed': -1}, 'from 0 to 4294967295, not -1'),
        ({'seed': 2**32}, 'from 0 to 4294967295, not 4294967296'),
        ({'seed': None}, 'from 0 to 4294967295, not None'),
    ],
)
def test_mistakes(wrong, message):
    with pytest.raises(UserError, match=message):
        corrupt(**(GOOD | wrong))
