"""Reading images so that a broken file names itself."""

import io

import mmcv
import mmengine.fileio as fileio
import numpy as np
from PIL import Image

from projects.dat.runtime.errors import UserError

IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
"""What counts as an image in a folder, as for MMPretrain's CustomDataset."""


def read_image(
    path: str,
    color_type: str = 'color',
    backend: str = 'cv2',
    backend_args: dict | None = None,
) -> np.ndarray:
    """Read one image file.

    A truncated JPEG, PNG, BMP, TIFF or WebP counts as unreadable: the OpenCV that
    ``requirements.txt`` pins returns nothing for it, where older ones returned a half-gray picture.
    So does a JPEG or PNG whose end is zeros. In other formats zeros may be black pixels.

    Args:
        path (str): Image file.
        color_type (str): Flag of ``mmcv.imfrombytes``. Defaults to 'color'.
        backend (str): Decoder of ``mmcv.imfrombytes``. Defaults to 'cv2'.
        backend_args (dict, optional): File backend of mmengine. Defaults to None.

    Returns:
        np.ndarray: For ``color_type='color'`` uint8 of shape (H, W, 3), BGR: turned as EXIF says,
        gray repeated, CMYK converted, 16 bits shortened to the upper 8, transparency dropped.

    Raises:
        UserError: The file is missing, is no image or is truncated, or has more than 8 bits of gray
            and ``backend='pillow'``, which would cut all above 255.
    """
    try:
        content = fileio.get(path, backend_args=backend_args)
    except OSError as error:
        raise UserError(
            f'the image {path} cannot be read ({error.strerror or error}): put the file there or '
            'remove it from the data set'
        ) from None
    size = len(content)
    if content[:2] == b'\xff\xd8':
        # A JPEG ends in another byte. What an interrupted download left zero would decode as gray.
        content = content.rstrip(b'\0')
    try:
        deep = color_type != 'unchanged' and backend == 'pillow'
        deep = deep and Image.open(io.BytesIO(content)).mode[0] in 'IF'
        image = mmcv.imfrombytes(content, flag=color_type, backend=backend)
    except Exception:  # every decoder has its own errors for a broken file
        image = None
    if image is None:
        raise UserError(
            f'{path} is truncated or is no image ({size} bytes): replace it by a whole file '
            'or remove it from the data set'
        )
    if deep:
        raise UserError(
            f'{path} has more than 8 bits of gray, which Pillow would cut to white: convert it, or '
            'leave imdecode_backend="pillow" out of LoadImageFromFile'
        )
    return image
