"""Do the views that a training pipeline makes of each image fit the model?"""

from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from mmpretrain.models import BaseClassifier
from mmpretrain.models.selfsup.base import BaseSelfSupervisor

from ..config import last_pipelines, type_name, walk
from ..errors import UserError
from .leaves import find_kind

# MMPretrain's models whose loss compares two views of an image.
PAIRED = ('BYOL', 'BarlowTwins', 'DenseCL', 'MoCo', 'MoCoV3', 'SimCLR', 'SimSiam', 'SwAV')
OWN = ('mmcv.', 'mmdet.', 'mmpretrain.', 'projects.dat.')


def check_views(cfg: Config) -> None:
    """Check how many views of each image a self-supervised model will get in training.

    Pipelines with a transform of the user's own may make views in other ways and are passed over.

    Args:
        cfg (Config): A whole MMEngine config with a train_dataloader.

    Raises:
        UserError: They are too few, or the model is a classifier and takes none.
    """
    with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        model = find_kind(registry, cfg.model)
    if not isinstance(model, type) or not issubclass(model, BaseSelfSupervisor | BaseClassifier):
        return
    least = 2 if model.__name__ in PAIRED else 1
    if 'adversarial' in cfg:
        least = max([2, *(view + 1 for view in cfg.adversarial.get('views', ()))])
    for pipeline in last_pipelines(cfg.train_dataloader['dataset']):
        views = sum(_views(node) for _, node in walk(pipeline, ''))
        if issubclass(model, BaseClassifier):
            if views:
                raise UserError(
                    f'the model {model.__name__} is a classifier, but the pipeline of '
                    'train_dataloader makes views of each image (MultiView), for '
                    'self-supervision: give the config of a self-supervised model, such as '
                    'configs/selfsup/simsiam_small.py, or leave MultiView out'
                )
        elif views < least and (views or least > 1) and all(map(_is_known, pipeline)):
            raise UserError(
                f'expected {least} views of each image for {model.__name__}, found '
                f'{views or "none"} in the pipeline of train_dataloader: make them with '
                f"dict(type='MultiView', num_views={least}, transforms=[[...]])"
            )


def _views(node: dict) -> int:
    if type_name(node) != 'MultiView':
        return 0
    number = node.get('num_views', 0)
    return number if isinstance(number, int) else sum(number)


def _is_known(transform: dict) -> bool:
    with TRANSFORMS.switch_scope_and_registry('mmpretrain') as registry:
        kind = find_kind(registry, transform)
    return isinstance(kind, type) and kind.__module__.startswith(OWN)
