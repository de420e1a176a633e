"""Reading images so that a broken file names itself."""

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile
from mmdet.registry import TRANSFORMS

from projects.dat.runtime.errors import UserError


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
        gray repeated, 16 bits shortened to the upper 8, transparency dropped.

    Raises:
        UserError: The file is missing, is no image or is truncated.
    """
    try:
        content = fileio.get(path, backend_args=backend_args)
    except OSError as error:
        raise UserError(
            f'the image {path} cannot be read ({error.strerror or error}): put the file there or '
            'remove its entry from the annotation file'
        ) from None
    size = len(content)
    if content[:2] == b'\xff\xd8':
        # A JPEG ends in another byte. What an interrupted download left zero would decode as gray.
        content = content.rstrip(b'\0')
    try:
        image = mmcv.imfrombytes(content, flag=color_type, backend=backend)
    except Exception:  # every decoder has its own errors for a broken file
        image = None
    if image is None:
        raise UserError(
            f'{path} is truncated or is no image ({size} bytes): replace it by a whole file '
            'or remove its entry from the annotation file'
        )
    return image


@TRANSFORMS.register_module(name='LoadImageFromFile')
class LoadImageFromFile(_LoadImageFromFile):
    """MMCV's ``LoadImageFromFile`` whose errors are one sentence with the path.

    It is registered in MMDetection's registry under MMCV's own name, where it is found before
    MMCV's: every detection config profits unchanged, and a config saved by a run still works where
    this project is not installed. Arguments and results are those of MMCV's class.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']`` into 'img', 'img_shape' and 'ori_shape'.

        Raises:
            UserError: The file is missing, is no image or is truncated. Not with
                ``ignore_empty=True``, where such a file gives None.
        """
        try:
            image = read_image(
                results['img_path'], self.color_type, self.imdecode_backend, self.backend_args
            )
        except UserError:
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results
