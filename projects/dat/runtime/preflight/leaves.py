"""The data sets of a config, as the registries know them."""

from collections.abc import Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, Registry

from ..config import leaf_datasets


class LeafDataset(NamedTuple):
    """A data set inside all wrappers."""

    split: str  # 'train', 'val' or 'test'
    path: str  # dotted, as --cfg-options writes it
    cfg: dict
    kind: type | None  # None where no registry knows it


def find_leaves(cfg: Config, splits: Sequence[str]) -> list[LeafDataset]:
    """All data sets of some splits; each split must have a dataloader."""
    found = []
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        for split in splits:
            loader = f'{split}_dataloader'
            for path, dataset in leaf_datasets(cfg[loader]['dataset'], f'{loader}.dataset'):
                found.append(LeafDataset(split, path, dataset, find_kind(registry, dataset)))
    return found


def find_kind(registry: Registry, node: dict) -> type | None:
    """The class that a config names, also where its library is not the one in scope."""
    name = node.get('type')
    if not isinstance(name, str):
        return name
    names = [name, f'mmdet.{name}', f'mmpretrain.{name}']
    return next((kind for name in names if (kind := registry.get(name))), None)
