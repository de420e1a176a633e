"""Everything about a config that can be checked before a run starts.

A run that fails after an hour of loading, or trains on shifted labels without a word, costs far
more than these seconds. Every finding is a :class:`~projects.dat.runtime.errors.UserError`.
"""

from mmengine.config import Config

from .model import check_amp, check_class_count, check_input_size, check_top_k
from .parts import build_parts
from .weights import check_checkpoint, check_labels_kept, check_pretrained

__all__ = ['check']


def check(cfg: Config, mode: str = 'train', new_head: bool = False) -> dict | None:
    """Check a config and what it points at, quick things first.

    Looked at: the device for AMP, views of images, the input size, data folders, annotation files,
    images, class names and their number, what the registries build, the checkpoint and whether it
    fits the model, and other weights to start from. Data sets that read neither COCO's format nor
    folders of images, and files that are not on a local disk, are passed over. Weights given as a
    URL are downloaded to torch hub's cache, as the run would do.

    Args:
        cfg (Config): A whole MMEngine config.
        mode (str): 'train' (the train and val loaders) or 'test'. Defaults to 'train'.
        new_head (bool): See :func:`check_checkpoint`. Defaults to False.

    Returns:
        dict | None: The checkpoint that the run would load, if any.

    Raises:
        UserError: The first thing found amiss.
    """
    # Late: MMDetection's data sets need the operators that projects.dat.register supplies, which
    # a tool that only reads results does not import.
    from .data import check_data
    from .views import check_views

    if mode not in ('train', 'test'):
        raise ValueError(f"mode must be 'train' or 'test', but got {mode!r}")
    splits = ['train', 'val'] if mode == 'train' else ['test']
    splits = [split for split in splits if cfg.get(f'{split}_dataloader')]
    if mode == 'train':
        check_amp(cfg)
        if 'train' in splits:
            check_views(cfg)
    check_input_size(cfg, splits)
    classes = check_data(cfg, splits)
    check_class_count(cfg, classes)
    check_top_k(cfg, splits)
    checkpoint = check_checkpoint(cfg, build_parts(cfg, splits, mode), new_head)
    if checkpoint and classes and (mode == 'test' or cfg.get('resume')):
        check_labels_kept(checkpoint, classes)
    if mode == 'train':
        check_pretrained(cfg)
    return checkpoint
