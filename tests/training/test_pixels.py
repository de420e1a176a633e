import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample

from projects.dat.training.pixels import PixelSpace, valid_area

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize(
    'options',
    [
        dict(bgr_to_rgb=True, **IMAGENET),
        dict(bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395]),
        dict(bgr_to_rgb=False),
        dict(bgr_to_rgb=True),
    ],
    ids=['RGB normalized', 'BGR normalized', 'BGR raw', 'RGB raw'],
)
def test_from_a_loaded_image_to_rgb_and_back(options):
    """The loader's BGR bytes arrive as their RGB reversal / 255, whatever the preprocessor does."""
    bgr = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    preprocessor = DetDataPreprocessor(**options)
    inputs = preprocessor(dict(inputs=[bgr], data_samples=[DetDataSample()]))['inputs']
    pixels = PixelSpace(preprocessor, rgb=options['bgr_to_rgb'])
    images = pixels.to_images(inputs)
    torch.testing.assert_close(images[0], bgr.flip(0) / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(pixels.to_inputs(images), inputs, atol=1e-4, rtol=0)


def test_valid_area():
    samples = [DetDataSample(metainfo=dict(img_shape=s)) for s in [(2, 3), (4, 5), (4, 1)]]
    area = valid_area(torch.zeros(3, 3, 4, 5), samples)
    assert area.shape == (3, 1, 4, 5)
    expected = torch.zeros(3, 1, 4, 5, dtype=torch.bool)
    expected[0, :, :2, :3] = expected[1] = True
    expected[2, :, :4, :1] = True
    assert torch.equal(area, expected)
