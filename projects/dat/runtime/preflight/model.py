"""Does the model part of a config fit the data and the machine?"""

from collections.abc import Iterable, Sequence

from mmengine.config import Config
from mmengine.device import get_device

from projects.dat.runtime.errors import UserError

from ..config import last_pipelines, metrics_of, type_name, walk

HEAD_COUNT = 'model.head.num_classes'  # a classifier's
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


def class_counts(cfg: Config) -> dict[str, int | None]:
    """Every ``num_classes`` that must be the number of the data's classes, by its dotted path.

    Those of box and mask heads; of a classifier, of its head, of what is below the head, such as a
    loss, and of a data preprocessor that makes soft labels.
    """
    counts = {}
    for path, node in walk(cfg.model, 'model'):
        steps = [step for step in path.split('.') if not step.isdigit()]
        if steps[-1] in ('bbox_head', 'mask_head') and 'num_classes' in node:
            counts[f'{path}.num_classes'] = node['num_classes']
    head = cfg.model.get('head') or {}
    if 'num_classes' not in head:  # MultiTaskHead has a number of classes for each task
        return counts
    for path, node in walk(head, 'model.head'):
        if node.get('num_classes') is not None:
            counts[f'{path}.num_classes'] = node['num_classes']
    own = cfg.model.get('data_preprocessor')
    preprocessor = own or cfg.get('data_preprocessor') or {}
    soft = [cfg.model.get('train_cfg'), *map(preprocessor.get, ('batch_augments', 'to_onehot'))]
    if any(soft):  # such as Mixup and CutMix, which ImageClassifier takes from its train_cfg
        path = 'model.data_preprocessor' if own else 'data_preprocessor'
        counts[f'{path}.num_classes'] = preprocessor.get('num_classes')
    return counts


def check_class_count(cfg: Config, classes: Sequence[str] | None) -> None:
    """Compare every ``num_classes`` with the number of class names.

    Where the data does not tell the classes, those of a classifier are compared with its head's.

    Raises:
        UserError: They differ.
    """
    counts = class_counts(cfg)
    number = counts.get(HEAD_COUNT) if classes is None else len(classes)
    differing = {path: count for path, count in counts.items() if count != number}
    if number is None or not differing:
        return
    path, count = next(iter(differing.items()))
    truth = f'{HEAD_COUNT} is {number}' if classes is None else f'the data set has {number} classes'
    raise UserError(
        f'{path} is {count}, but {truth}: use --cfg-options '
        + ' '.join(f'{path}={number}' for path in differing)
    )


def check_top_k(cfg: Config, splits: Iterable[str]) -> None:
    """MMPretrain's Accuracy fails, after an epoch, where it shall find a label among more classes
    than there are.

    Raises:
        UserError: It shall.
    """
    number = class_counts(cfg).get(HEAD_COUNT)
    for split in splits:
        for path, metric in metrics_of(cfg, split):
            top_k = metric.get('topk', 1)
            most = max(top_k) if isinstance(top_k, Sequence) else top_k
            if type_name(metric) == 'Accuracy' and number is not None and most > number:
                raise UserError(
                    f'{path}.topk is {top_k}, but there are {number} classes: use --cfg-options '
                    f'{path}.topk=1'
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
