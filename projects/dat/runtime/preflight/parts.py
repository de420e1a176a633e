"""Can the parts of a run be built from the config?"""

import copy
import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from ..config import walk


def build_parts(cfg: Config, splits: Sequence[str], mode: str) -> nn.Module:
    """Build pipelines, model and optimizer, as a run would after it has logged its config.

    Data sets and metrics, which read files, and hooks, which may need a run, are left to it.

    Args:
        cfg (Config): A whole MMEngine config.
        splits (Sequence[str]): Of 'train', 'val', 'test'; each must have a dataloader.
        mode (str): With 'train', the optimizer too.

    Returns:
        nn.Module: The model, its weights not initialised.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)  # how parts are built is the run's to tell
    try:
        with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmengine')):
            for split in splits:
                for _, node in walk(cfg[f'{split}_dataloader']['dataset'], split):
                    Compose(node.get('pipeline') or [])
            model = copy.deepcopy(dict(cfg.model))  # detectors hand settings on to their parts
            if cfg.get('data_preprocessor') is not None:
                model.setdefault('data_preprocessor', cfg.data_preprocessor)
            model = MODELS.build(model)
            if mode == 'train' and 'optimizer' in (cfg.get('optim_wrapper') or {}):
                build_optim_wrapper(model, cfg.optim_wrapper)
            return model
    finally:
        logger.setLevel(level)
