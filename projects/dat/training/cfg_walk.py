"""Finding things inside an MMEngine config."""

from collections.abc import Iterator
from typing import Any


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
