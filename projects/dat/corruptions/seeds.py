"""Which random numbers an image gets."""

import hashlib


def image_seed(seed: int, image_id: int | str, corruption: str, severity: int) -> int:
    """Seed of one image's corruption, 0..2**32 - 1, from the run's seed by hashing.

    It depends on nothing else, so that the number of workers, their order and a restart change
    nothing.

    Args:
        seed: Seed of the whole run.
        image_id: The image's id in the annotation file.
        corruption: One of ``CORRUPTIONS``.
        severity: 1..5.
    """
    key = f'{seed}:{image_id}:{corruption}:{severity}'.encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], 'big')
