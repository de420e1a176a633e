"""Do the data sets of a config exist, and do they fit the config and the model?"""

from collections.abc import Sequence

from mmdet.datasets import BaseDetDataset
from mmdet.models import BaseDetector
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.datasets import CustomDataset
from mmpretrain.models import BaseClassifier

from ..errors import UserError
from .coco import check_coco
from .folders import check_folders
from .leaves import LeafDataset, find_kind, find_leaves


def check_data(cfg: Config, splits: Sequence[str]) -> tuple[str, ...] | None:
    """Check the data of some splits.

    Args:
        cfg (Config): A whole MMEngine config.
        splits (Sequence[str]): Of 'train', 'val', 'test'; each must have a dataloader.

    Returns:
        tuple[str, ...] | None: Class names of the first data set that reads COCO's format or, like
        MMPretrain's CustomDataset, folders of images; None where there is none.

    Raises:
        UserError: A folder or file is missing or does not fit.
    """
    found = find_leaves(cfg, splits)
    _check_task(cfg, found)
    of_coco, of_folders = check_coco(cfg, splits, found), check_folders(cfg, found)
    return of_coco or of_folders


def _check_task(cfg: Config, found: Sequence[LeafDataset]) -> None:
    with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        model = find_kind(registry, cfg.model)
    for _, path, _, kind in found:
        if _is(model, BaseDetector) and _is(kind, CustomDataset):
            raise UserError(
                f'the model {model.__name__} is a detector, but {path} is {kind.__name__}, a data '
                'set of classification: give the config of a classifier, or boxes in a data set '
                'such as CocoDataset'
            )
        if _is(model, BaseClassifier) and _is(kind, BaseDetDataset):
            raise UserError(
                f'the model {model.__name__} is a classifier, but {path} is {kind.__name__}, a '
                'data set of detection: give the config of a detector, or a folder of images for '
                'each class in a CustomDataset'
            )


def _is(kind: type | None, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)
