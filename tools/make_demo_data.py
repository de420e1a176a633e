"""Make a small COCO-format data set of drawn objects on photographs, without a download.

`python tools/make_demo_data.py OUT` writes OUT/train2017, OUT/val2017 and OUT/annotations, laid out
as COCO 2017. The photographs are those inside scikit-image's wheel; train and val share none.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.dat.runtime.errors import UserError  # noqa: E402
from tools.demo_objects import CLASSES, draw_object  # noqa: E402

PHOTOGRAPHS = {
    'train2017': (
        'astronaut.png', 'coffee.png', 'motorcycle_left.png', 'motorcycle_right.png',
        'rocket.jpg', 'gravel.png', 'hubble_deep_field.jpg',
    ),
    'val2017': ('chelsea.png', 'grass.png', 'brick.png', 'camera.png', 'ihc.png'),
}
MANIFEST = 'demo_data.json'
# Share of the image's side: at 128 px, a token of 8 px is small beside them.
OBJECT_SIDE = (0.32, 0.66)
LEAST_VISIBLE = 0.7  # share of an object that later ones may leave to see


@dataclass(frozen=True)
class DemoData:
    """What a demo data set is made from; equal parameters give equal bytes."""

    train: int = 240
    val: int = 100
    size: int = 128
    seed: int = 0


def make_demo_data(
    out: str | Path, train: int = 240, val: int = 100, size: int = 128, seed: int = 0
) -> Path:
    """Make the data set, or keep a finished one that was made from the same parameters.

    Args:
        out (str | Path): Folder for the data set. It appears only when all is written.
        train (int): Number of training images. Defaults to 240.
        val (int): Number of validation images. Defaults to 100.
        size (int): Sides of the square images in pixels. Defaults to 128.
        seed (int): Seed of everything random. Defaults to 0.

    Returns:
        Path: ``out``.

    Raises:
        UserError: A number is too small, or ``out`` holds something else.
    """
    out = Path(out)
    parameters = DemoData(train, val, size, seed)
    if min(train, val) < 1 or size < 64 or seed < 0:
        raise UserError(
            f'demo data needs at least 1 train and 1 val image, a size of at least 64 and a seed '
            f'of at least 0, but got {parameters}'
        )
    manifest = json.dumps(asdict(parameters))
    if out.exists():
        if (out / MANIFEST).is_file():
            if (out / MANIFEST).read_text() == manifest:
                return out
        elif not out.is_dir() or any(out.iterdir()):
            raise UserError(
                f'{out} exists and is no demo data set: name a new folder or empty that one'
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f'{out.name}.', dir=out.parent))
    try:
        building.chmod(0o755)  # mkdtemp makes a private folder
        for split, count in (('train2017', train), ('val2017', val)):
            _write_split(building, split, count, parameters)
        (building / MANIFEST).write_text(manifest)
        if out.exists():
            shutil.rmtree(out)
        os.replace(building, out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out


def make_scene(
    photographs: list[np.ndarray], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draw 1 to 3 objects, some of which overlap, on a crop of one of the photographs.

    Args:
        photographs (list[np.ndarray]): uint8 RGB pictures.
        size (int): Sides of the scene in pixels.
        rng (np.random.Generator): Decides everything random.

    Returns:
        tuple: The picture, uint8 (size, size, 3) RGB, and for each object its class index and the
        mask of its visible pixels, bool (size, size).
    """
    picture = _crop(photographs[rng.integers(len(photographs))], size, rng)
    objects: list[tuple[int, np.ndarray]] = []
    areas: list[int] = []
    wanted = rng.integers(1, 4)
    for _ in range(20):
        label = int(rng.integers(len(CLASSES)))
        side = rng.uniform(*OBJECT_SIDE) * size
        color, alpha = draw_object(label, side, rng)
        height, width = alpha.shape
        y = rng.integers(1, size - height)
        x = rng.integers(1, size - width)
        mask = np.zeros((size, size), bool)
        mask[y:y + height, x:x + width] = alpha >= 0.5
        rest = [seen & ~mask for _, seen in objects]
        if any(r.sum() < LEAST_VISIBLE * a for r, a in zip(rest, areas, strict=True)):
            continue
        window = picture[y:y + height, x:x + width]
        window[:] = window + (color - window) * alpha[..., None]
        objects = [(old, r) for (old, _), r in zip(objects, rest, strict=True)] + [(label, mask)]
        areas.append(int(mask.sum()))
        if len(objects) == wanted:
            break
    return np.rint(picture).astype(np.uint8), objects


def _crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a photograph in random light, maybe mirrored; float (size, size, 3)."""
    side = int(min(photograph.shape[:2]) * rng.uniform(0.45, 1.0))
    y = rng.integers(photograph.shape[0] - side + 1)
    x = rng.integers(photograph.shape[1] - side + 1)
    square = Image.fromarray(photograph[y:y + side, x:x + side])
    crop = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS), np.float64)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return np.clip(crop * rng.uniform(0.6, 1.2), 0, 255)


def _write_split(root: Path, split: str, count: int, parameters: DemoData) -> None:
    (root / split).mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    photographs = [
        np.asarray(Image.open(Path(skimage.data.data_dir, name)).convert('RGB'))
        for name in PHOTOGRAPHS[split]
    ]
    images, annotations = [], []
    for index in range(count):
        # A generator of its own for every image: more images leave the first ones as they were.
        rng = np.random.default_rng((parameters.seed, list(PHOTOGRAPHS).index(split), index))
        picture, objects = make_scene(photographs, parameters.size, rng)
        name = f'{index:06d}.jpg'
        content = io.BytesIO()
        Image.fromarray(picture).save(content, 'JPEG', quality=92)
        (root / split / name).write_bytes(content.getvalue())
        height, width = picture.shape[:2]
        images.append({'id': index, 'file_name': name, 'width': width, 'height': height})
        for label, mask in objects:
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            annotations.append({
                'id': len(annotations) + 1,
                'image_id': index,
                'category_id': label + 1,
                'bbox': [int(v) for v in box],
                'area': int(mask.sum()),
                'iscrowd': 0,
            })
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)]
    content = {
        'info': {'description': 'drawn objects on photographs', **asdict(parameters)},
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('out', metavar='OUT', help='folder for the data set')
    parser.add_argument('--train', type=int, default=DemoData.train, help='training images')
    parser.add_argument('--val', type=int, default=DemoData.val, help='validation images')
    parser.add_argument('--size', type=int, default=DemoData.size, help='sides in pixels')
    parser.add_argument('--seed', type=int, default=DemoData.seed, help='seed')
    try:
        print(f'demo data: {make_demo_data(**vars(parser.parse_args()))}')
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
