"""Which random numbers belong to what."""

import hashlib


def hash_seed(*key: object) -> int:
    """A seed, 0..2**32 - 1, that follows from ``key`` alone, by hashing.

    Numbers drawn for (seed, image id, corruption, severity) or (seed, rank, iteration) thus depend
    neither on the order of the work nor on the number of workers, and a restart repeats them.

    Args:
        key: Whole numbers and strings.
    """
    digest = hashlib.sha256(':'.join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:4], 'big')
