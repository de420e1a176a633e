"""The published tokenizers, and fetching them into the user's cache."""

import logging
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from .checkpoint import TokenizerError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Preset:
    """A published tokenizer.

    Attributes:
        url: Of the file, or of a zip that holds it.
        file: Name in the cache folder.
        size: Of the download, as far as known.
        license: Of the weights, as their publisher states it.
        member: Name of the file inside the zip, or None where the URL is the file itself.
    """

    url: str
    file: str
    size: str
    license: str
    member: str | None = None


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


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/dat-mmdet``, by default ``~/.cache/dat-mmdet``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'dat-mmdet'


def fetch(name: str, preset: Preset, offline: bool) -> Path:
    """Path of a preset's file in the cache, downloaded if it is not there yet.

    An interrupted download goes on where it stopped; the file appears under its name only when it
    is complete. Of several processes that want it at once, one downloads and the others wait.

    Raises:
        TokenizerError: without network, on a server's refusal, or where the zip lacks the file.
    """
    target = cache_folder() / preset.file
    if target.is_file():
        return target
    by_hand = (
        f'get {preset.url} on another machine and put {preset.member or "the file"} at {target}'
    )
    if offline:
        raise TokenizerError(
            f'tokenizer {name}: expected {target}, found none and may not download (offline); '
            f'{by_hand}'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix('.lock')):
        if not target.is_file():
            _fetch(name, preset, target, by_hand)
    return target


def _fetch(name: str, preset: Preset, target: Path, by_hand: str) -> None:
    logger.info(
        'tokenizer %s: downloading %s (%s, license %s)',
        name,
        preset.url,
        preset.size,
        preset.license,
    )
    partial = target.with_suffix('.partial')
    try:
        _download(preset.url, partial)
    except (requests.RequestException, OSError) as error:
        raise TokenizerError(
            f'tokenizer {name}: expected to download {preset.url}, found {_short(error)}; try '
            f'again to go on where it stopped, or {by_hand}'
        ) from error
    if preset.member:
        partial = _extract(name, preset, partial)
    os.replace(partial, target)


def _download(url: str, partial: Path) -> None:
    """Append to ``partial`` what it lacks."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {'Range': f'bytes={have}-'} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # Complete: the last run stopped before the renaming.
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with (
            open(partial, 'ab' if have else 'wb') as file,
            tqdm(total=total, initial=have, unit='B', unit_scale=True, desc=partial.stem) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and partial.stat().st_size != total:
        raise OSError(f'{partial.stat().st_size:,} of {total:,} bytes')


def _extract(name: str, preset: Preset, archive: Path) -> Path:
    extracted = archive.with_suffix('.extracted')
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(preset.member) as source,
            open(extracted, 'wb') as sink,
        ):
            shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, KeyError) as error:
        archive.unlink()
        raise TokenizerError(
            f'tokenizer {name}: expected a zip with {preset.member} at {preset.url}, found '
            f'{_short(error)}; the download was removed, try again'
        ) from error
    archive.unlink()
    return extracted


def _short(error: Exception) -> str:
    return f'{type(error).__name__} ({str(error)[:120]})'
