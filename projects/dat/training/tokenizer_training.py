"""Train a tokenizer with an MMEngine Runner: the model, its data set and its metric."""

from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from projects.dat.errors import UserError
from projects.dat.tokenizer import VQGAN, EMAQuantizer, FastVQGAN, nearest_codes

MODELS.register_module(module=VQGAN)
MODELS.register_module(module=FastVQGAN)

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp'}


@MODELS.register_module()
class TokenizerTraining(BaseModel):
    """A VQGAN with its training losses: L1 reconstruction and commitment; the codebook follows by
    EMA.

    Args:
        network (dict): Config of the network, ``VQGAN`` or ``FastVQGAN``.
        quantizer (dict): Arguments of :class:`EMAQuantizer`. Defaults to dict().
        commitment_weight (float): Weight of the commitment loss. Defaults to 0.25, as van den Oord
            et al., 2017.
    """

    def __init__(
        self, network: dict, quantizer: dict | None = None, commitment_weight: float = 0.25
    ):
        super().__init__()
        self.network = MODELS.build(network).to(memory_format=torch.channels_last)
        self.quantizer = EMAQuantizer(self.network.quantize.embedding.weight, **(quantizer or {}))
        self.commitment_weight = commitment_weight

    def forward(self, images: Tensor, mode: str = 'tensor'):
        """Images (N, 3, S, S) in 0..1 -> losses (``loss``) or reconstructions and tokens."""
        images = images.contiguous(memory_format=torch.channels_last)
        z = self.network.encode(images)
        if mode == 'loss':
            words, commitment, _ = self.quantizer(z)
            reconstruction = self.network.decode(words)
            return dict(
                loss_reconstruction=(reconstruction - images).abs().mean(),
                loss_commitment=self.commitment_weight * commitment,
            )
        # Not the quantizer's own reference: EMAHook swaps the network's weights for the averaged
        # ones.
        codebook = self.network.quantize.embedding.weight
        tokens = nearest_codes(z.movedim(1, -1).flatten(0, 2), codebook).view(
            z.shape[0], *z.shape[2:]
        )
        reconstruction = self.network.decode(codebook[tokens].movedim(-1, 1)).clamp(0, 1)
        return (
            list(zip(images, reconstruction, tokens, strict=True))
            if mode == 'predict'
            else reconstruction
        )


@DATASETS.register_module()
class ImageFiles(Dataset):
    """Every image below some folders, as RGB crops (3, S, S) in 0..1.

    Args:
        roots (list[str]): Folders, searched recursively.
        size (int): Side of the crops in pixels.
        train (bool): Random crops at random scale, flipped at random, or the center crop of the
            image at its own scale (enlarged where it is smaller than the crop).

    Raises:
        UserError: if a folder is missing or holds no image.
    """

    def __init__(self, roots: list[str], size: int, train: bool):
        self.paths = []
        for root in roots:
            found = sorted(p for p in Path(root).rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise UserError(
                    f'expected images ({", ".join(sorted(IMAGE_SUFFIXES))}) below {root}, found '
                    'none; '
                    'set the data set\'s roots, e.g. --cfg-options '
                    'train_dataloader.dataset.roots="[/my/images]"'
                )
            self.paths += found
        if train:
            self.transform = transforms.Compose(
                [
                    # Half the smallest scale of a detector's augmentation is not needed: words are
                    # local.
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
        except OSError as error:
            raise UserError(
                f'expected a readable image, found {path} ({error}); remove or replace it'
            ) from error


class _EnlargeTo:
    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        return image if short >= self.size else transforms.functional.resize(image, self.size)


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Mean over images of the PSNR in dB (of the range 0..1), and the share of words in use."""

    def __init__(self, num_codes: int):
        super().__init__()
        self.num_codes = num_codes

    def process(self, data_batch, data_samples) -> None:
        for image, reconstruction, tokens in data_samples:
            mse = (image - reconstruction).square().mean()
            self.results.append((float(-10 * mse.log10()), tokens.unique().cpu()))

    def compute_metrics(self, results: list) -> dict:
        used = torch.cat([tokens for _, tokens in results]).unique()
        return dict(
            psnr=sum(psnr for psnr, _ in results) / len(results),
            codes_used=len(used) / self.num_codes,
        )
