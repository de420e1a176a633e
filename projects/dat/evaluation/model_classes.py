"""What a classifier's labels mean: the names of the class folders of its data."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.models import BaseClassifier

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.folders import class_folders
from projects.dat.runtime.preflight.leaves import find_kind
from projects.dat.runtime.preflight.model import HEAD_COUNT, class_counts

from .test_images import datasets_of

WNIDS = tuple(Path(__file__).with_name('imagenet_wnids.txt').read_text().split())
"""ImageNet-1k's 1,000 classes as WordNet ids; labels count them in this order."""


def is_classifier(cfg: Config) -> bool:
    """Whether the config's model is one of MMPretrain's classifiers."""
    with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
        kind = find_kind(registry, cfg.model)
    return isinstance(kind, type) and issubclass(kind, BaseClassifier)


def has_imagenet_classes(cfg: Config) -> bool:
    """Whether the model has 1,000 classes, which are taken to be ImageNet's."""
    return class_counts(cfg).get(HEAD_COUNT) == len(WNIDS)


def model_classes(cfg: Config) -> tuple[str, ...]:
    """Names of the class folders by label: ImageNet's, or those of the config's test data.

    Raises:
        UserError: The model has other than 1,000 classes, and its test data has no class folders.
    """
    if has_imagenet_classes(cfg):
        return WNIDS
    path, dataset = datasets_of(cfg)[0]
    if dataset.get('ann_file'):
        raise UserError(
            f'expected {path} to have a folder for each class, which says what labels mean, found '
            f'the list {dataset["ann_file"]}: test on class folders, without ann_file'
        )
    return tuple(class_folders(dataset, path))


def labels_of(
    root: str | Path, classes: Sequence[str], cure: str = 'give the folder with the class folders'
) -> dict[str, int]:
    """Labels by class folder, for all class folders in ``root``.

    Args:
        root: The folder.
        classes: Names of class folders by label.
        cure: What to do where it is another folder. Defaults to what suits any.

    Raises:
        UserError: There is no such folder, it has no class folders, or one is of no class of the
            model.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f'the folder {root} does not exist: {cure}')
    folders = folders_of(root)
    if not folders:
        raise UserError(f'expected a folder for each class in {root}, found none: {cure}')
    labels = {name: label for label, name in enumerate(classes)}
    strange = [name for name in folders if name not in labels]
    if strange:
        count = f'{len(strange)} folders' if len(strange) > 1 else 'a folder'
        raise UserError(
            f'{root} has {count} such as {strange[0]!r}, which is no class of the model, whose '
            f'{len(classes)} classes are called {", ".join(classes[:2])}, ...: {cure}, and without '
            'others'
        )
    return {name: labels[name] for name in folders}


def folders_of(root: Path) -> list[str]:
    """Sorted names of the folders in ``root``, but for hidden ones, as MMPretrain finds them."""
    return sorted(
        entry.name for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith('.')
    )
