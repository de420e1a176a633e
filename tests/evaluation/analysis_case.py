"""A classifier, a detector and a tokenizer with random weights, as an analysis takes them."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from projects.dat.tokenizer import write_state_dict
from tests.training.coco_case import coco_config, write_coco
from tests.training.folder_case import folder_config, write_folders
from tests.training.toy_detector import toy_tokenizer


def write_classifier(root: Path) -> Config:
    """A config, with a checkpoint and images in the folder ``root``."""
    return _written(folder_config(write_folders(root)), root)


def write_detector(root: Path) -> Config:
    """A config, with a checkpoint and images in the folder ``root``."""
    return _written(coco_config(write_coco(root)), root)


def write_tokenizer(file: Path) -> str:
    """The file of a small tokenizer."""
    write_state_dict(toy_tokenizer().network.state_dict(), file, {})
    return str(file)


def _written(cfg: Config, root: Path) -> Config:
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = {'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model}
    cfg.load_from = str(root / 'model.pth')
    torch.save(dict(state_dict=MODELS.build(model).state_dict()), cfg.load_from)
    cfg.custom_imports = dict(imports=['projects.dat.register'])
    cfg.dump(root / 'config.py')
    return Config.fromfile(root / 'config.py')
