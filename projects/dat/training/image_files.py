"""Photographs from folders, to train a tokenizer on."""

from pathlib import Path

from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from projects.dat.runtime.errors import UserError

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp'}


@DATASETS.register_module()
class ImageFiles(Dataset):
    """Every image below some folders, as RGB crops (3, S, S) in 0..1.

    Args:
        roots (list[str] | str): Folders, searched recursively.
        size (int): Side of the crops in pixels.
        train (bool): Random crops at random scale, flipped at random, or the center crop of the
            image at its own scale (enlarged where it is smaller than the crop).

    Raises:
        UserError: if a folder is missing or holds no image.
    """

    def __init__(self, roots: list[str] | str, size: int, train: bool):
        self.paths = []
        for root in [roots] if isinstance(roots, str) else roots:
            found = sorted(p for p in Path(root).rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise UserError(
                    f'expected images ({", ".join(sorted(IMAGE_SUFFIXES))}) below {root}, found '
                    'none; name other folders, with --train and --val'
                )
            self.paths += found
        if train:
            self.transform = transforms.Compose(
                [
                    transforms.RandomResizedCrop(
                        size, scale=(0.1, 1.0), ratio=(0.8, 1.25), antialias=True
                    ),
                    transforms.RandomHorizontalFlip(),
                    transforms.ToTensor(),
                ]
            )
        else:
            self.transform = transforms.Compose(
                [_EnlargeTo(size), transforms.CenterCrop(size), transforms.ToTensor()]
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                return dict(images=self.transform(image.convert('RGB')))
        except (OSError, Image.DecompressionBombError) as error:
            raise UserError(
                f'expected a readable image, found {path} ({error}); remove or replace it'
            ) from error


class _EnlargeTo:
    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        return image if short >= self.size else transforms.functional.resize(image, self.size)
