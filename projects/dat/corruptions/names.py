"""The corruptions of the robust detection benchmark (Michaelis et al., arXiv:1907.07484)."""

from collections.abc import Iterable

GROUPS = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
BENCHMARK = tuple(name for group in GROUPS.values() for name in group)
"""The 15 corruptions that mPC is a mean over, in the published order."""

HOLDOUT = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
"""Four further ones, kept for choosing hyperparameters; never a part of mPC."""

CORRUPTIONS = BENCHMARK + HOLDOUT
SETS = {'benchmark': BENCHMARK, 'holdout': HOLDOUT, 'all': CORRUPTIONS, **GROUPS}
"""What a user may call several of them."""

SEVERITIES = (1, 2, 3, 4, 5)
CHANNEL_ORDERS = ('bgr', 'rgb')
"""In which order a corruption gets the channels; 'bgr' is what published numbers have."""


def expand(names: Iterable[str]) -> list[str]:
    """Single corruptions and names in ``SETS`` to single corruptions, each once."""
    return list(dict.fromkeys(one for name in names for one in SETS.get(name, (name,))))
