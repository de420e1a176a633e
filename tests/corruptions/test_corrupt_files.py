"""What the reader of images makes of unusual files, and that it can be corrupted."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from projects.dat.corruptions import corrupt
from projects.dat.runtime.images import read_image
from tests.fixtures.make_corruption_fixtures import picture

RGB = picture(48, 64)


def _pillow(image, kind, **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image = Image.fromarray(np.ascontiguousarray(np.rot90(RGB)))
    return _pillow(image, 'JPEG', quality=100, subsampling=0, exif=exif)


def _opencv(array):
    return cv2.imencode('.png', array)[1].tobytes()


def _transparent():
    alpha = np.full(RGB.shape[:2], 10, np.uint8)
    return Image.fromarray(np.dstack([RGB, alpha]), 'RGBA')


@pytest.mark.parametrize(
    'content, expected, tolerance',
    [
        pytest.param(_pillow(Image.fromarray(RGB), 'PNG'), RGB, 0, id='rgb png'),
        pytest.param(_pillow(Image.fromarray(RGB[..., 0]), 'PNG'), RGB[..., :1], 0, id='grey png'),
        pytest.param(
            _pillow(Image.fromarray(RGB[..., 0]), 'JPEG', quality=100),
            RGB[..., :1],
            3,
            id='grey jpeg',
        ),
        pytest.param(
            _pillow(Image.fromarray(RGB).convert('CMYK'), 'JPEG', quality=100, subsampling=0),
            RGB,
            8,
            id='cmyk jpeg',
        ),
        pytest.param(
            _opencv(RGB[..., ::-1].astype(np.uint16) * 256 + 255), RGB, 0, id='16-bit rgb png'
        ),
        pytest.param(
            _opencv(RGB[..., 0].astype(np.uint16) * 256), RGB[..., :1], 0, id='16-bit grey png'
        ),
        pytest.param(
            _pillow(Image.fromarray(RGB).quantize(256), 'PNG'),
            np.asarray(Image.fromarray(RGB).quantize(256).convert('RGB')),
            0,
            id='palette png',
        ),
        pytest.param(_pillow(_transparent(), 'PNG'), RGB, 0, id='rgba png'),
        pytest.param(_turned(), RGB, 8, id='jpeg turned by exif'),
        pytest.param(
            _pillow(Image.fromarray(RGB[..., 0] > 127), 'PNG'),
            np.where(RGB[..., :1] > 127, 255, 0),
            0,
            id='1-bit png',
        ),
    ],
)
def test_files(tmp_path, content, expected, tolerance):
    """All become 8-bit BGR: grey is repeated, 16 bits lose the lower 8, transparency is dropped."""
    (tmp_path / 'image').write_bytes(content)
    image = read_image(str(tmp_path / 'image'))
    assert image.dtype == np.uint8 and image.shape == RGB.shape
    difference = image[..., ::-1].astype(int) - np.broadcast_to(expected, RGB.shape)
    assert np.abs(difference).max() <= tolerance
    assert corrupt(image, 'contrast', 3, seed=0).shape == RGB.shape
