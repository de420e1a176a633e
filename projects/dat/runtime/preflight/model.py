"""Does the model part of a config fit the data and the machine?"""

from collections.abc import Iterable, Sequence

from mmengine.config import Config
from mmengine.device import get_device

from projects.dat.runtime.errors import UserError

from ..config import last_pipelines, type_name, walk

BIFPN_STRIDE = 128  # of level P7: BiFPN adds maps of neighboring levels, so each must be halvable
RESIZES = ('Resize', 'FixScaleResize')
KEEP_SIZE = ('RandomFlip', 'PhotoMetricDistortion', 'YOLOXHSVRandomAug', 'FilterAnnotations',
             'LoadAnnotations', 'PackDetInputs')


def check_amp(cfg: Config) -> None:
    """MMEngine's AmpOptimWrapper scales losses on an accelerator only; it asserts on a CPU.

    Raises:
        UserError: AMP is asked for on a machine without one.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    device = get_device()
    if type_name(wrapper) == 'AmpOptimWrapper' and device in ('cpu', 'mps'):
        raise UserError(
            f'mixed precision (AmpOptimWrapper, --amp) needs a GPU, but the device here is '
            f'{device!r}: leave --amp out or use --cfg-options optim_wrapper.type=OptimWrapper'
        )


def check_class_count(cfg: Config, classes: Sequence[str]) -> None:
    """Compare ``num_classes`` of the box and mask heads with the number of class names.

    Raises:
        UserError: They differ.
    """
    for path, node in walk(cfg.model, 'model'):
        steps = [step for step in path.split('.') if not step.isdigit()]
        if steps[-1] not in ('bbox_head', 'mask_head'):
            continue
        if node.get('num_classes', len(classes)) != len(classes):
            raise UserError(
                f'{path}.num_classes is {node["num_classes"]}, but the data set has '
                f'{len(classes)} classes: use --cfg-options {path}.num_classes={len(classes)}'
            )


def check_input_size(cfg: Config, splits: Iterable[str]) -> None:
    """EfficientDet's BiFPN takes inputs whose sides are multiples of 128.

    The data preprocessor may pad every batch to such a size, or the pipelines may end in one.

    Raises:
        UserError: A side need not be, or is not, a multiple of 128.
    """
    if not any(type_name(node) in ('EfficientDet', 'BiFPN') for _, node in walk(cfg.model, '')):
        return
    preprocessor = cfg.model.get('data_preprocessor') or {}
    rule = f'EfficientDet needs input sides divisible by {BIFPN_STRIDE}'
    for augment in preprocessor.get('batch_augments') or []:
        if type_name(augment) == 'BatchFixedSizePad' and _odd(augment['size']):
            raise UserError(
                f'{rule}, but BatchFixedSizePad of model.data_preprocessor pads to '
                f'{tuple(augment["size"])}: give it multiples of {BIFPN_STRIDE}'
            )
    divisor = preprocessor.get('pad_size_divisor', 1)
    if not _odd([divisor]):
        return
    for split in splits:
        for pipeline in last_pipelines(cfg[f'{split}_dataloader']['dataset']):
            size = _final_size(pipeline)
            if size is None or _odd(size):
                found = f'gives {tuple(size)}' if size else 'does not fix them'
                raise UserError(
                    f'{rule}, but the pipeline of {split}_dataloader {found} and '
                    f'model.data_preprocessor.pad_size_divisor is {divisor}: use --cfg-options '
                    f'model.data_preprocessor.pad_size_divisor={BIFPN_STRIDE}'
                )


def _odd(sides: Iterable[int]) -> bool:
    return any(side % BIFPN_STRIDE for side in sides)


def _final_size(pipeline: list) -> Sequence[int] | None:
    """Sides that the pipeline's last sizing step fixes, or their divisor; None if it fixes none."""
    for step in reversed(pipeline):
        name = type_name(step)
        if name in KEEP_SIZE:
            continue
        if name == 'Pad':
            return [step['size_divisor']] if step.get('size_divisor') else step.get('size')
        if name in RESIZES and not step.get('keep_ratio', False):
            return step.get('scale')
        return None
    return None
