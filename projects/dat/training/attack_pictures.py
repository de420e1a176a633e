"""Pictures of an attack."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, make_grid

from projects.dat.attacks import AttackResult

_RED = torch.tensor([1.0, 0.1, 0.1]).view(3, 1, 1)

COLUMNS = ('clean', 'reconstruction', 'adversarial', 'difference', 'changed tokens')
SIDE = 256  # px; smaller images are enlarged, so that titles and boxes can be read
GAP = 4  # px around every cell


def attack_sheet(
    images: Tensor,
    mask: Tensor,
    result: AttackResult,
    boxes: list[Tensor] | None = None,
    gain: float = 5.0,
    max_images: int | None = None,
) -> np.ndarray:
    """One row an image: clean, reconstruction, adversarial, amplified difference, changed tokens.

    The difference is adversarial minus reconstruction, times ``gain``, around mid-gray: what the
    attack did, apart from what the tokenizer cannot draw. Changed tokens are red on the darkened
    image. Where there is no reconstruction (pixel attacks, random directions), the clean image
    stands in. Every column has its title. Images narrower than 256 px are enlarged.

    Args:
        images: (N, 3, H, W), RGB, 0..1.
        mask: BoolTensor (N, 1, H, W), False on padding.
        result: Of the attack on them.
        boxes: For each image (n, 4) in pixels, x1 y1 x2 y2; drawn on clean and adversarial.
        gain: Factor on the difference. Defaults to 5.
        max_images: Rows at the most. Defaults to None, all.

    Returns:
        uint8 array (height, width, 3), RGB.
    """
    factor = math.ceil(SIDE / images.shape[-1])
    cells = []
    for i in range(len(images[:max_images])):
        clean, adversarial = images[i], result.images[i]
        base = clean if result.reconstruction is None else result.reconstruction[i]
        difference = torch.where(mask[i], 0.5 + gain * (adversarial - base), 0.5)
        tokens = clean.mean(dim=0, keepdim=True).expand_as(clean) * 0.6
        if result.changed is not None:
            tokens = torch.where(_pixels_of(result.changed[i], clean), _RED.to(clean), tokens)
        row = [clean, base, adversarial, difference, tokens]
        row = [_enlarge(cell.detach().float().cpu().clamp(0, 1), factor) for cell in row]
        if boxes is not None:
            drawn = boxes[i].cpu() * factor
            drawn = drawn[(drawn[:, 2:] > drawn[:, :2]).all(dim=1)]  # others cannot be drawn
            for j in (0, 2) if len(drawn) else ():
                row[j] = draw_bounding_boxes(row[j], drawn, colors='yellow', width=2)
        cells += row
    sheet = make_grid(torch.stack(cells), nrow=len(COLUMNS), padding=GAP, pad_value=1.0)
    sheet = (sheet * 255).round().byte().permute(1, 2, 0).numpy()
    titles = list(COLUMNS)
    titles[3] = f'{titles[3]} x {gain:g}'
    return np.concatenate([_header(titles, cells[0].shape[-1]), sheet])


def _header(titles: list[str], width: int) -> np.ndarray:
    """The strip over columns of ``width`` pixels that bears their titles."""
    size = min(width // 10, 32)
    header = Image.new('RGB', (len(titles) * (width + GAP) + GAP, 2 * size), 'white')
    draw, font = ImageDraw.Draw(header), ImageFont.load_default(size)
    for i, title in enumerate(titles):
        middle = GAP + i * (width + GAP) + width // 2
        draw.text((middle, size), title, 'black', font, anchor='mm')
    return np.asarray(header)


def _pixels_of(changed: Tensor, image: Tensor) -> Tensor:
    """Tokens (h, w) to pixels (1, H, W); a token is a square whose side is a power of two."""
    ratio = max(a / b for a, b in zip(image.shape[-2:], changed.shape, strict=True))
    side = 2 ** math.ceil(math.log2(ratio))
    return _enlarge(changed[None], side)[:, : image.shape[-2], : image.shape[-1]]


def _enlarge(image: Tensor, factor: int) -> Tensor:
    """(C, H, W) with ``factor`` x ``factor`` pixels for each."""
    return image.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
