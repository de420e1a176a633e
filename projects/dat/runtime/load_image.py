"""The pipelines' first transform, from whose errors a user learns which file is broken."""

import numpy as np
from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile
from mmdet.registry import TRANSFORMS as DETECTION_TRANSFORMS
from mmpretrain.datasets.transforms import TRANSFORMS as CLASSIFICATION_TRANSFORMS

from .errors import UserError
from .images import read_image


@DETECTION_TRANSFORMS.register_module(name='LoadImageFromFile')
# MMPretrain registers MMCV's as its own.
@CLASSIFICATION_TRANSFORMS.register_module(name='LoadImageFromFile', force=True)
class LoadImageFromFile(_LoadImageFromFile):
    """MMCV's ``LoadImageFromFile`` whose errors are one sentence with the path.

    It is registered in MMDetection's and MMPretrain's registries under MMCV's own name, where it is
    found before MMCV's: every config profits unchanged, and one saved by a run still works where
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
