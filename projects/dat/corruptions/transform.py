"""Corruptions as a step of MMDetection's pipelines."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.seeds import hash_seed

from .corrupt import corrupt
from .names import CHANNEL_ORDERS, CORRUPTIONS, SEVERITIES


@TRANSFORMS.register_module()
class CorruptImage(BaseTransform):
    """Corrupt the image that the loader has just read; its place is right after the loader.

    An image's random numbers follow from its :func:`image_key` alone: workers, their order and a
    restart change nothing.

    Required Keys: img (np.uint8 or what ``to_float32`` made of it, BGR, (H, W, 3) or gray (H, W)),
    img_id or img_path. Modified Keys: img (same dtype, (H, W, 3)).

    Args:
        corruption (str): One of the 19 names.
        severity (int): 1 to 5.
        seed (int): Seed of the whole run. Defaults to 0.
        channel_order (str): 'bgr' gives the corruption the loader's BGR array as it is, although
            it expects RGB. MMDetection's ``Corrupt`` does so, and with it the published figures.
            'rgb' gives it RGB and turns the result back. Defaults to 'bgr'.

    Raises:
        UserError: An argument is out of its range, or an image cannot be corrupted.
    """

    def __init__(
        self, corruption: str, severity: int, seed: int = 0, channel_order: str = 'bgr'
    ) -> None:
        for name, value, known in (
            ('corruption', corruption, CORRUPTIONS),
            ('severity', severity, SEVERITIES),
            ('channel_order', channel_order, CHANNEL_ORDERS),
        ):
            if value not in known:
                raise UserError(
                    f'expected {name} to be one of {", ".join(map(str, known))}, but got {value!r}'
                )
        self.corruption = corruption
        self.severity = severity
        self.seed = seed
        self.channel_order = channel_order

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``."""
        image = source = results['img']
        if image.dtype == np.float32:  # by to_float32; it holds whole numbers
            source = image.astype(np.uint8)
        step = -1 if self.channel_order == 'rgb' else 1
        if image.ndim == 3:
            source = source[..., ::step]
        seed = hash_seed(self.seed, image_key(results), self.corruption, self.severity)
        try:
            corrupted = corrupt(
                np.ascontiguousarray(source), self.corruption, self.severity, seed
            )
        except UserError as error:
            raise UserError(f'{results.get("img_path", "the image")}: {error}') from None
        results['img'] = np.ascontiguousarray(corrupted[..., ::step], dtype=image.dtype)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, '
            f'seed={self.seed}, channel_order={self.channel_order!r})'
        )


def image_key(results: dict) -> int | str:
    """What tells an image from the others of its data set, wherever that lies.

    It is its ``img_id``, or, as classification has none, the last folder and the name of its file.

    Raises:
        UserError: The image has neither.
    """
    if 'img_id' in results:
        return results['img_id']
    if not results.get('img_path'):
        raise UserError(
            "an image's random numbers are drawn from its img_id or img_path, but the data set "
            'gives neither: add img_id to what its load_data_list returns'
        )
    return '/'.join(results['img_path'].split('/')[-2:])
