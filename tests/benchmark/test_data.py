import numpy as np
import pytest
import torch
from PIL import Image

from projects.dat.benchmark.data import load_images, make_batch, make_images
from projects.dat.runtime.errors import UserError


def test_images_and_boxes():
    images = make_images(3, 128, seed=0)
    assert images.dtype == torch.uint8 and images.shape == (3, 3, 128, 128)
    assert len(images.unique()) > 200 and torch.equal(images, make_images(3, 128, seed=0))
    data = make_batch(images, seed=0)
    assert len(data['inputs']) == len(data['data_samples']) == 3
    for sample in data['data_samples']:
        boxes = sample.gt_instances.bboxes
        assert len(boxes) == len(sample.gt_instances.labels) == 7
        assert (boxes >= 0).all() and (boxes <= 128).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()


def test_photographs(tmp_path):
    """A red and a blue image, larger than the crop; the third place gets the first again."""
    for name, color in (('a.png', (255, 0, 0)), ('b.jpg', (0, 0, 255))):
        Image.fromarray(np.full((80, 120, 3), color, np.uint8)).save(tmp_path / name)
    images = load_images(str(tmp_path), 3, 64)
    assert images.dtype == torch.uint8 and images.shape == (3, 3, 64, 64)
    # Blue, green, red, as MMDetection reads files.
    assert images[0].flatten(1).tolist() == [[0] * 4096, [0] * 4096, [255] * 4096]
    assert images[1, 0].float().mean() > 250 and torch.equal(images[2], images[0])


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UserError, match='--images needs a folder'):
        load_images(str(tmp_path), 1, 64)
