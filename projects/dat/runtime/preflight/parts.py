"""Can the parts of a run be built from the config?"""

import copy
import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS
from torch import nn

from ..config import metrics_of, walk
from ..registries import check_node


def build_parts(cfg: Config, splits: Sequence[str], mode: str) -> nn.Module:
    """Build pipelines, model and optimizer, as a run would after it has logged its config.

    Of metrics, which read files, and hooks, which may need a run, only types and arguments are
    looked at; data sets are left to the run.

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
                for path, metric in metrics_of(cfg, split):
                    if 'metrics' not in metric:  # an evaluator of a user's own
                        check_node(METRICS, metric, path)
            for key in ('default_hooks', 'custom_hooks'):
                for path, hook in walk(cfg.get(key), key):
                    if path.count('.') == 1:
                        check_node(HOOKS, hook, path)
            model = build_model(cfg)
            if mode == 'train' and 'optimizer' in (cfg.get('optim_wrapper') or {}):
                build_optim_wrapper(model, cfg.optim_wrapper)
            return model
    finally:
        logger.setLevel(level)


def build_model(cfg: Config) -> nn.Module:
    """Build the model as a run would, its weights not initialised."""
    model = dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = copy.deepcopy(model)  # models hand settings on to their parts
    with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmengine')):
        return MODELS.build(model)
