"""What has to be equal for two evaluations to be parts of one result."""

import hashlib
import json
import os.path as osp
from importlib import metadata
from urllib.parse import urlparse

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import CheckpointLoader

from projects.dat.runtime.errors import UserError

from .images import OnTheFly, Tree, annotations_sha256
from .results import RobustnessResult

PACKAGES = (
    'numpy', 'scipy', 'opencv-python', 'opencv-python-headless', 'pillow', 'torch',
    'torchvision', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'pycocotools',
)
# Neither places of data, whose annotation files have a hash of their own, nor what drives the
# loader's workers changes a figure. The batch size does: it decides how images are padded.
PLACES = ('data_root', 'data_prefix', 'ann_file')
WORKERS = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'worker_init_fn')

_LABELS = dict(
    config_sha256='another model, test_dataloader, test_evaluator or test_cfg in its config',
    checkpoint_sha256='another checkpoint',
    annotations_sha256='another annotation file',
    seed='another seed',
    channel_order='another channel order',
    image_format='images of another origin',
    metric='another metric',
)


def identity(cfg: Config, checkpoint: str, images: OnTheFly | Tree, metric: str) -> dict:
    """The fields of :class:`RobustnessResult` that say what is evaluated, and how.

    Args:
        cfg: A config with all options merged.
        checkpoint: A file or a URL.
        images: Where the images come from.
        metric: Name of the metric to summarize.

    Raises:
        UserError: An annotation file or the checkpoint cannot be read.
    """
    return dict(
        config=cfg.filename,
        config_sha256=_config_sha256(cfg),
        checkpoint=checkpoint,
        checkpoint_sha256=_file_sha256(checkpoint),
        annotations_sha256=annotations_sha256(cfg),
        seed=images.seed,
        channel_order=images.channel_order,
        image_format=images.image_format,
        metric=metric,
    )


def check_same(path: str, result: RobustnessResult, expected: dict) -> None:
    """Check that a run may add to the result in the file ``path``.

    Raises:
        UserError: It would evaluate something else.
    """
    for name, label in _LABELS.items():
        old, new = getattr(result, name), expected[name]
        if old == new:
            continue
        if name in ('config_sha256', 'checkpoint_sha256'):
            place = name.removesuffix('_sha256')
            old, new = (f'{file} ({sha[:12]})' for file, sha in (
                (getattr(result, place), old), (expected[place], new)
            ))
        elif name == 'image_format':
            old, new = (kind or 'corrupted on the fly' for kind in (old, new))
        raise UserError(
            f'{path} holds results with {label}: {old} there, {new} here; write to another file '
            'with --out, or remove that one'
        )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that figures depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _config_sha256(cfg: Config) -> str:
    loader = {k: v for k, v in cfg.test_dataloader.items() if k not in WORKERS}
    parts = ConfigDict(
        model=cfg.model, loader=loader, evaluator=cfg.test_evaluator, test_cfg=cfg.test_cfg
    )
    text = json.dumps(_without_places(parts.to_dict()), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_places(node):
    if isinstance(node, dict):
        return {k: _without_places(v) for k, v in node.items() if k not in PLACES}
    if isinstance(node, (list, tuple)):
        return [_without_places(v) for v in node]
    return node


def _file_sha256(checkpoint: str) -> str:
    file = osp.expanduser(checkpoint)
    if checkpoint.startswith(('http://', 'https://')):
        # Downloads it unless it is there, to where torch hub keeps what it downloads.
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
        file = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(file).path))
    digest = hashlib.sha256()
    try:
        with open(file, 'rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(
            f'the checkpoint {checkpoint} cannot be read as a file ({error.strerror}), whose hash '
            'the result needs: download it and give its path'
        ) from None
    return digest.hexdigest()
