"""--data-root moves data sets and evaluators together."""

import pytest

from projects.dat.runtime import preflight
from projects.dat.runtime.config import set_data_root
from tests.training.coco_case import coco_config, write_coco


def test_all_parts_follow(tmp_path):
    old, new = tmp_path / 'old', write_coco(tmp_path / 'new')
    cfg = coco_config(old)
    cfg.test_dataloader = cfg.val_dataloader
    set_data_root(cfg, str(new))
    for mode in ('train', 'test'):
        preflight.check(cfg, mode)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.ann_file == f'{new}/annotations/instances_val2017.json'
    assert str(old) not in cfg.pretty_text


@pytest.mark.parametrize('root', ['data/coco/', './data/coco', 'data/coco'])
def test_spelling_of_the_old_root_does_not_matter(root):
    cfg = coco_config('data/coco')
    cfg.val_dataloader.dataset.data_root = root
    set_data_root(cfg, '/new')
    assert cfg.val_evaluator.ann_file == '/new/annotations/instances_val2017.json'


def test_wrapped_data_and_listed_evaluators():
    cfg = coco_config('data/coco')
    cfg.val_evaluator = [cfg.val_evaluator]
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner)]
    )
    set_data_root(cfg, '/new')
    assert cfg.train_dataloader.dataset.datasets[0].dataset.data_root == '/new'
    assert cfg.val_evaluator[0].ann_file == '/new/annotations/instances_val2017.json'


def test_evaluator_outside_the_root_is_left_alone():
    cfg = coco_config('data/coco')
    cfg.val_evaluator.ann_file = 'data/coco_other/val.json'
    set_data_root(cfg, '/new')
    assert cfg.val_evaluator.ann_file == 'data/coco_other/val.json'
