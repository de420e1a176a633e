"""Evaluates a model on cell after cell of COCO-C."""

import contextlib
import io
import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from projects.dat.corruptions import SEVERITIES

from .identity import package_versions
from .images import Cell, OnTheFly, Tree, cell_loader
from .results import Metrics, RobustnessResult

_COCO_METRIC = re.compile(r'(bbox|segm)_mAP(_50|_75|_s|_m|_l)?$')


def cells_of(corruptions: Iterable[str], severities: Iterable[int] = SEVERITIES) -> list[Cell]:
    """The clean images first, then each corruption at each severity."""
    severities = sorted(set(severities))
    return [(None, 0), *((name, s) for name in dict.fromkeys(corruptions) for s in severities)]


def evaluate(
    cfg: Config,
    images: OnTheFly | Tree,
    cells: Sequence[Cell],
    identity: dict,
    done: RobustnessResult | None,
    path: str | Path,
) -> RobustnessResult:
    """Evaluate ``cfg.load_from`` on some cells; the model is built and loaded once.

    Every rank of a distributed run calls it. Rank 0 writes the result after every cell. The first
    cell logs as any test does, each further one a line; the log file has everything.

    Args:
        cfg: A config with ``load_from`` and ``work_dir``.
        images: Where the images come from.
        cells: What to evaluate; cells that ``done`` has are passed over.
        identity: From :func:`projects.dat.evaluation.identity.identity`.
        done: What an earlier run has written to ``path``; rank 0's counts.
        path: JSON file of the result.

    Raises:
        UserError: The evaluator does not give the metric.
    """
    runner = RUNNERS.build(cfg)
    # As Runner.test does: hooks prepare first, EMA takes its weights while the checkpoint loads.
    loop = runner.test_loop
    runner.call_hook('before_run')
    runner.load_or_resume()
    shared = [done]
    broadcast_object_list(shared)
    result = shared[0] or RobustnessResult(
        num_images=len(loop.dataloader.dataset), packages=package_versions(), **identity
    )
    todo = [cell for cell in cells if result.value(*cell) is None]
    total = len(cells)
    start = time.monotonic()
    for count, cell in enumerate(todo, 1):
        with _quiet(runner, everything=count > 1):
            loop.dataloader = runner.build_dataloader(cell_loader(cfg, images, cell))
            metrics = loop.run()
        result.add(*cell, _with_metric(metrics, result, runner))
        if is_main_process():
            result.save(path)
        left = timedelta(seconds=round((time.monotonic() - start) / count * (len(todo) - count)))
        runner.logger.info(
            f'{_name(cell)}: {result.metric} {result.value(*cell):.3f} '
            f'[{total - len(todo) + count}/{total} cells, eta {left}]'
        )
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


def _with_metric(metrics: Metrics, result: RobustnessResult, runner: Runner) -> Metrics:
    """CocoMetric leaves its figures out where a model finds nothing at all: these are zeros."""
    if result.metric in metrics or not _COCO_METRIC.search(result.metric):
        return metrics
    if metrics and result.clean is None:
        return metrics
    runner.logger.warning(
        f'the evaluator gave no {result.metric}, as it does without any detection: taken as 0'
    )
    return {**metrics, result.metric: 0.0}


def _name(cell: Cell) -> str:
    corruption, severity = cell
    return f'{corruption}, severity {severity}' if severity else 'clean images'
