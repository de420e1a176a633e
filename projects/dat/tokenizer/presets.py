"""Tokenizers by name: the bundled one and the published ones."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_TOKENIZER = 'fast_f8_8192'

BUNDLED = {
    DEFAULT_TOKENIZER: Path(__file__).parent / 'weights' / f'{DEFAULT_TOKENIZER}.safetensors'
}


@dataclass(frozen=True)
class Preset:
    """A published tokenizer.

    Attributes:
        url: Of the file, or of a zip that holds it.
        file: Name in the cache folder.
        size: Of the download, as far as known.
        license: Of the weights, as their publisher states it.
        member: Name of the file inside the zip, or None where the URL is the file itself.
        sha256: Hex digest of the downloaded file, or None: none of the publishers states one.
    """

    url: str
    file: str
    size: str
    license: str
    member: str | None = None
    sha256: str | None = None


# Addresses as in https://github.com/CompVis/taming-transformers,
# https://github.com/CompVis/latent-diffusion and https://github.com/alibaba/easyrobust. 271 MB is
# what the 67.7 M parameters of an f8 network take in fp32.
PUBLISHED = {
    # The tokenizer of the DAT paper and of the released classification code.
    'openimages_f8_16384': Preset(
        url='http://alisec-competition.oss-cn-shanghai.aliyuncs.com/xiaofeng/easy_robust/pretrained_models/'
        'vqgan_openimages_f8_16384.ckpt',
        file='vqgan_openimages_f8_16384.ckpt',
        size='at least 271 MB',
        license='MIT',
    ),
    'openimages_f8_256': Preset(
        url='https://ommer-lab.com/files/latent-diffusion/vq-f8-n256.zip',
        file='vqgan_openimages_f8_256.ckpt',
        size='at least 271 MB',
        license='MIT',
        member='model.ckpt',
    ),
    'imagenet_f16_1024': Preset(
        url='https://heibox.uni-heidelberg.de/f/140747ba53464f49b476/?dl=1',
        file='vqgan_imagenet_f16_1024.ckpt',
        size='about 958 MB',
        license='MIT',
    ),
    'imagenet_f16_16384': Preset(
        url='https://heibox.uni-heidelberg.de/f/867b05fc8c4841768640/?dl=1',
        file='vqgan_imagenet_f16_16384.ckpt',
        size='at least 304 MB',
        license='MIT',
    ),
}
