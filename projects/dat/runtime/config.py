"""Finding and changing things inside an MMEngine config."""

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config


def walk(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Every dict at or below ``node``, with its dotted path as ``--cfg-options`` writes it."""
    if isinstance(node, dict):
        yield path, node
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        return
    for key, child in children:
        yield from walk(child, f'{path}.{key}')


def leaf_datasets(dataset: dict, path: str) -> Iterator[tuple[str, dict]]:
    """The data sets inside wrappers such as RepeatDataset, with their dotted paths."""
    if 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'], f'{path}.dataset')
    elif 'datasets' in dataset:
        for i, inner in enumerate(dataset['datasets']):
            yield from leaf_datasets(inner, f'{path}.datasets.{i}')
    else:
        yield path, dataset


def last_pipelines(dataset: dict) -> Iterator[list]:
    """The pipelines that see an image last: the outermost one of each branch of wrappers."""
    if dataset.get('pipeline'):
        yield dataset['pipeline']
    elif 'dataset' in dataset:
        yield from last_pipelines(dataset['dataset'])
    else:
        for inner in dataset.get('datasets', []):
            yield from last_pipelines(inner)


def metrics_of(cfg: dict, split: str) -> list[tuple[str, dict]]:
    """The metrics of ``{split}_evaluator``, with their dotted paths."""
    evaluator = cfg.get(f'{split}_evaluator') or []
    if isinstance(evaluator, (list, tuple)):
        return [(f'{split}_evaluator.{i}', metric) for i, metric in enumerate(evaluator)]
    return [(f'{split}_evaluator', evaluator)]


def type_name(node: dict) -> str:
    """The class name of a config dict, without its scope."""
    kind = node.get('type', '')
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def set_data_root(cfg: Config, root: str) -> None:
    """Point every data set at ``root`` and let the evaluators' annotation files follow.

    An evaluator's ``ann_file`` that lies below the old root of its split's data keeps its place
    relative to the root; any other is left alone.

    Args:
        cfg (Config): Changed in place: ``data_root`` of each data set of the train, val and test
            loaders, through wrappers, and ``ann_file`` of the evaluators.
        root (str): The folder that holds the images and annotations.
    """
    datasets = {}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        datasets[split] = list(leaf_datasets(loader['dataset'], split)) if loader else []
    # Evaluators first: `test_dataloader = val_dataloader` may make the two one object, whose old
    # root both evaluators need.
    for split, found in datasets.items():
        for _, metric in metrics_of(cfg, split):
            ann_file = osp.normpath(metric.get('ann_file') or '.')
            for _, dataset in found:
                old_root = osp.normpath(dataset.get('data_root') or '.')
                if ann_file.startswith(old_root + osp.sep):
                    metric['ann_file'] = osp.join(root, osp.relpath(ann_file, old_root))
    for found in datasets.values():
        for _, dataset in found:
            dataset['data_root'] = root
