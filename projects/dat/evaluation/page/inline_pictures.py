"""Pictures inside a page, so that it needs no other file."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..show import DESCRIPTION

WIDTH = 1600  # px at the most
SMALL = 200_000  # bytes; what is smaller stays as it is
QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Picture:
    """A picture as a page has it.

    Args:
        uri: A data URI.
        width: In pixels.
        height: In pixels.
        alt: What it shows, in words.
        caption: What stands below it.
        drawn: Whether most of it is white paper: then it can be shown in other colors.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str
    drawn: bool


def inline(file: Path, caption: str, alt: str) -> Picture:
    """A picture's file for a page, scaled down and as JPEG where it is large.

    Args:
        file: Of any format that Pillow reads.
        caption: What stands below it.
        alt: What it shows; where the file itself says that, its words count.

    Raises:
        OSError: It is no picture.
    """
    content = file.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        kind, alt = opened.format, opened.info.get(DESCRIPTION) or alt
        image = Image.new('RGB', opened.size, 'white')
        rgba = opened.convert('RGBA')
        image.paste(rgba, mask=rgba)
    drawn = (np.asarray(image).min(axis=2) > 250).mean() > 0.5
    if kind not in ('PNG', 'JPEG') or len(content) > SMALL or image.width > WIDTH:
        if image.width > WIDTH:
            image = image.resize((WIDTH, round(WIDTH * image.height / image.width)))
        kind, stream = 'JPEG', io.BytesIO()
        image.save(stream, kind, quality=QUALITY)
        content = stream.getvalue()
    uri = f'data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}'
    return Picture(uri, image.width, image.height, alt, caption, bool(drawn))
