"""What a classifier's labels mean: the names of the class folders of its data."""

from pathlib import Path

from mmengine.config import Config

from projects.dat.runtime.errors import UserError

from .test_images import build_datasets

WNIDS = tuple(Path(__file__).with_name('imagenet_wnids.txt').read_text().split())
"""ImageNet-1k's 1,000 classes as WordNet ids; labels count them in this order."""


def model_classes(cfg: Config) -> tuple[str, ...]:
    """Names of the class folders by label: ImageNet's, or those of the config's test data.

    Raises:
        UserError: The model has other than 1,000 classes, and its test data has no class folders.
    """
    if cfg.model.get('head', {}).get('num_classes') == len(WNIDS):
        return WNIDS
    folders = getattr(build_datasets(cfg)[0], 'folder_to_idx', None)
    if folders is None:
        raise UserError(
            'expected the data of test_dataloader to have a folder for each class, which says what '
            'labels mean: test on class folders, without ann_file'
        )
    return tuple(folders)


def labels_of(root: str | Path, classes: tuple[str, ...]) -> dict[str, int]:
    """Labels by class folder, for all class folders in ``root``.

    Raises:
        UserError: There is no such folder, it has no class folders, or one is of no class of the
            model.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f'the folder {root} does not exist: give the one that holds class folders')
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if not folders:
        raise UserError(
            f'expected a folder for each class in {root}, found none: give the folder that holds '
            'the class folders'
        )
    labels = {name: label for label, name in enumerate(classes)}
    strange = [name for name in folders if name not in labels]
    if strange:
        raise UserError(
            f'{root} has {len(strange)} folders such as {strange[0]!r} that are no class of the '
            f'model, whose {len(classes)} classes are called {classes[0]}, {classes[1]}, ...: '
            'move them away or rename them'
        )
    return {name: labels[name] for name in folders}
