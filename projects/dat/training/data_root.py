"""``--data-root``: one option that points a whole config at other data of the same layout."""

import os.path as osp

from mmengine.config import Config

from .cfg_walk import leaf_datasets, metrics_of


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
