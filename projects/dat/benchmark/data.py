"""Batches as a loader gives them."""

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from projects.dat.runtime.errors import UserError
from projects.dat.training.image_files import IMAGE_SUFFIXES, ImageFiles

# Objects of an image of COCO's train2017: 860,001 in 117,266 images that have any.
_OBJECTS = 7


def make_images(count: int, size: int, seed: int) -> Tensor:
    """Smooth shapes with some noise, uint8 (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 2 + size // 32, 2 + size // 32, generator=generator)
    images = F.interpolate(coarse, size=(size, size), mode='bicubic') * 255
    images += 8 * torch.randn(images.shape, generator=generator)
    return images.round().clamp(0, 255).to(torch.uint8)


def load_images(folder: str, count: int, size: int) -> Tensor:
    """Center crops of the images below a folder, in the order of their paths, over and over.

    Returns:
        uint8 (count, 3, size, size), BGR.

    Raises:
        UserError: There is no image, or one cannot be read.
    """
    try:
        files = ImageFiles([folder], size, train=False)
    except UserError:
        raise UserError(
            f'--images needs a folder with images ({", ".join(sorted(IMAGE_SUFFIXES))}), and found '
            f'none below {folder}'
        ) from None
    images = [files[i % len(files)]['images'] for i in range(count)]
    return (torch.stack(images).flip(1) * 255).round().to(torch.uint8)


def make_batch(images: Tensor, seed: int) -> dict:
    """What a loader gives: images uint8 (N, 3, S, S), BGR, with seven boxes each, on the CPU.

    All boxes are of the first class: the class does not matter for the cost.
    """
    generator = torch.Generator().manual_seed(seed)
    size = images.shape[-1]
    samples = []
    for _ in images:
        corner = torch.rand(_OBJECTS, 2, generator=generator) * size * 0.7
        # From small to large, within the image.
        extent = 8 + torch.rand(_OBJECTS, 2, generator=generator) ** 2 * (size - 8 - corner)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0), img_id=0
            )
        )
        boxes = torch.cat([corner, corner + extent], dim=1)
        labels = torch.zeros(_OBJECTS, dtype=torch.long)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)
