"""How images are cut before they become ImageNet-C's."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

SIDE = 224
"""Of ImageNet-C's images, in pixels."""


@TRANSFORMS.register_module()
class CropForImageNetC(BaseTransform):
    """What ImageNet-C's authors did to an image before corrupting it.

    The shorter side becomes 256 px, and of the middle 224 x 224 px are taken
    (https://github.com/hendrycks/robustness, make_imagenet_c.py: torchvision's Resize and
    CenterCrop on Pillow images). An image of that size stays as it is. Required and modified key:
    img (np.uint8 or what ``to_float32`` made of it, (H, W, 3)).
    """

    def transform(self, results: dict) -> dict:
        """Resize and crop ``results['img']``."""
        image = results['img']
        if image.shape[:2] != (SIDE, SIDE):
            short = min(image.shape[:2])
            size = tuple(256 * side // short for side in image.shape[1::-1])
            # Pillow's filter also averages where it shrinks, as the authors' does.
            whole = mmcv.imresize(
                image.astype(np.uint8), size, backend='pillow', interpolation='bilinear'
            )
            top, left = (round((side - SIDE) / 2) for side in whole.shape[:2])
            crop = whole[top:top + SIDE, left:left + SIDE]
            image = np.ascontiguousarray(crop, dtype=image.dtype)
        return dict(results, img=image, img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE))
