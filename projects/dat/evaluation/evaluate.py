"""Evaluates a model on the cells of test sets, and says what a cell is."""

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os.path as osp
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce_dict, broadcast_object_list, is_main_process
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner

from projects.dat.runtime.errors import UserError

from .results import CLEAN, Cell, Identity, Metrics, Result, cell_name

# By the words of a config that say that it uses them; the first ones are always used.
PACKAGES = {
    '': dict(torch='torch', torchvision='torchvision', mmengine='mmengine', mmcv='mmcv',
             numpy='numpy', opencv='cv2'),
    'mmdet': dict(mmdet='mmdet', pycocotools='pycocotools'),
    'mmpretrain': dict(mmpretrain='mmpretrain'),
    'timm': dict(timm='timm'),
    'pillow': dict(pillow='PIL'),
}
# Neither places of data, whose annotation files have a hash of their own, nor what drives the
# loader's workers changes a figure. The batch size does: it decides how images are padded.
PLACES = ('data_root', 'data_prefix', 'ann_file')
WORKERS = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'worker_init_fn')
_COCO_METRIC = re.compile(r'(bbox|segm)_mAP(_50|_75|_s|_m|_l)?$')


@dataclass(frozen=True)
class Trial:
    """How one cell is evaluated.

    Args:
        loader: Config of the data loader.
        evaluator: Config of the evaluator. Defaults to None: the config's ``test_evaluator``.
        attack: Given the model, a context in which its test batches are attacked; it gives an
            object whose ``means()`` are added to the metrics. Defaults to None.
    """

    loader: dict
    evaluator: dict | list | None = None
    attack: Callable[[BaseModel], AbstractContextManager] | None = None


def identify(cfg: Config, data: dict[str, dict[str, str | int]], metric: str) -> Identity:
    """What is evaluated, and with what.

    Args:
        cfg: A config with all options merged, and ``load_from``: a file or a URL.
        data: See :class:`Identity`.
        metric: Name of the metric to summarize.

    Raises:
        UserError: The checkpoint cannot be read.
    """
    loader = {k: v for k, v in cfg.test_dataloader.items() if k not in WORKERS}
    norms = {k: v for k, v in cfg.get('adversarial', {}).items() if k in ('split_bn', 'keep_bn')}
    parts = [cfg.model.to_dict(), loader, cfg.test_evaluator, cfg.test_cfg, norms]
    text = json.dumps(_without_places(parts), sort_keys=True, default=str)
    return Identity(
        config=cfg.filename,
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        checkpoint=cfg.load_from,
        checkpoint_sha256=_checkpoint_sha256(cfg.load_from),
        metric=metric,
        packages=package_versions(cfg),
        data=data,
    )


def package_versions(cfg: Config) -> dict[str, str]:
    """Versions of the packages that the figures of a config depend on.

    Builds of one version, such as 2.11.0+cpu and 2.11.0+cu130, are the same.
    """
    text = str(cfg.to_dict())
    used = {k: v for word, names in PACKAGES.items() if word in text for k, v in names.items()}
    versions = {}
    for name, module in used.items():
        with contextlib.suppress(ImportError):
            version = getattr(importlib.import_module(module), '__version__', None)
            versions[name] = (version or metadata.version(name)).split('+')[0]
    return versions


def evaluate(
    cfg: Config, trials: Mapping[Cell, Trial], identity: Identity, path: str | Path,
    then: Callable[[Runner], None] | None = None,
) -> Result:
    """Evaluate ``cfg.load_from`` on some cells; the model is built and loaded once.

    Every rank of a distributed run calls it. Rank 0 writes the result after every cell. The first
    cell logs as any test does, each further one a line; the log file has everything.

    Args:
        cfg: A config with ``load_from`` and ``work_dir``.
        trials: How each cell is evaluated; cells that the file has are passed over.
        identity: From :func:`identify`.
        path: JSON file of the result, which is added to.
        then: What every rank does with the loaded model after the last cell. Defaults to None.

    Raises:
        UserError: The file holds results of something else, or the evaluator does not give the
            metric.
    """
    shared = [Result.resume(path, identity)]
    runner = RUNNERS.build(cfg)
    # The config's own test data need not exist.
    runner._test_dataloader = next(iter(trials.values())).loader
    loop = runner.test_loop
    evaluator = loop.evaluator
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load(runner)
    broadcast_object_list(shared)
    result, = shared
    todo = [cell for cell in trials if cell not in result.cells]
    start = time.monotonic()
    for count, cell in enumerate(todo, 1):
        trial = trials[cell]
        attacked = trial.attack(model) if trial.attack else contextlib.nullcontext()
        with _quiet(runner, everything=count > 1), attacked as adversary:
            loop.dataloader = runner.build_dataloader(trial.loader)
            loop.evaluator = trial.evaluator and runner.build_evaluator(trial.evaluator)
            loop.evaluator = loop.evaluator or evaluator
            loop.evaluator.dataset_meta = getattr(loop.dataloader.dataset, 'metainfo', None)
            strict = CLEAN not in result.cells
            metrics = with_metric(loop.run(), identity.metric, strict, runner)
            if adversary is not None:
                strength = adversary.means()
                all_reduce_dict(strength, 'mean')
                metrics = {**metrics, **strength}
        result.add(cell, metrics, len(loop.dataloader.dataset))
        if is_main_process():
            result.save(path)
        left = timedelta(seconds=round((time.monotonic() - start) / count * (len(todo) - count)))
        done = len(trials) - len(todo) + count
        runner.logger.info(
            f'{cell_name(cell)}: {identity.metric} {result.value(cell):.3f} '
            f'[{done}/{len(trials)} cells, eta {left}]'
        )
    if then is not None:
        then(runner)
    runner.call_hook('after_run')
    return result


@contextlib.contextmanager
def _quiet(runner: Runner, everything: bool) -> Iterator[None]:
    """Keep what pycocotools prints, and perhaps what is logged, from the terminal."""
    terminals = [h for h in runner.logger.handlers if not isinstance(h, logging.FileHandler)]
    levels = [handler.level for handler in terminals]
    if everything:
        for handler in terminals:
            handler.setLevel(max(handler.level, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for handler, level in zip(terminals, levels, strict=True):
            handler.setLevel(level)


def load(runner: Runner) -> None:
    """Load ``cfg.load_from`` as Runner.test does.

    Hooks prepare first, and EMA takes its weights while the checkpoint loads.
    """
    runner.call_hook('before_run')
    runner.load_or_resume()


def with_metric(metrics: Metrics, metric: str, strict: bool, runner: Runner) -> Metrics:
    """What an evaluator gives, as a result has it: in fractions, and with the metric.

    MMPretrain's metrics are in per cent, MMDetection's AP in 0..1. CocoMetric leaves its figures
    out where a model finds nothing at all: these are zeros.

    Args:
        metrics: Of the evaluator.
        metric: The one that is summarized.
        strict: Whether it stays missing if the evaluator gave others.
        runner: Its logger tells of zeros.
    """
    percent = ('accuracy/', 'single-label/')
    metrics = {k: v / 100 if k.startswith(percent) else v for k, v in metrics.items()}
    if metric in metrics or not _COCO_METRIC.search(metric) or (metrics and strict):
        return metrics
    runner.logger.warning(
        f'the evaluator gave no {metric}, as it does without any detection: taken as 0'
    )
    return {**metrics, metric: 0.0}


def _without_places(node):
    if isinstance(node, dict):
        return {k: _without_places(v) for k, v in node.items() if k not in PLACES}
    if isinstance(node, (list, tuple)):
        return [_without_places(v) for v in node]
    return node


def _checkpoint_sha256(checkpoint: str) -> str:
    """Of the file, or, where a loader of weights makes them (package://), of names and values."""
    digest = hashlib.sha256()
    file = osp.expanduser(checkpoint)
    if checkpoint.startswith(('http://', 'https://')):
        # Downloads it unless it is there, to where torch hub keeps what it downloads.
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
        file = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(file).path))
    elif '://' in checkpoint:
        found = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
        for name, value in sorted(found.get('state_dict', found).items()):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
            digest.update(value.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
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
