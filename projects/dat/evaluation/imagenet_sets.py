"""Test sets of a classifier with images of their own: ImageNet-A, -R, -V2, -Sketch and others."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import METRICS
from mmpretrain.evaluation import Accuracy

from projects.dat.runtime.annotations import check_name, some
from projects.dat.runtime.config import metrics_of, type_name
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.images import IMAGE_ENDINGS

from .evaluate import Trial
from .imagenet_c import pipeline_for_crops
from .labelled_images import images_of, labelled_sha256, read_labelled
from .model_classes import WNIDS, folders_of, has_imagenet_classes, labels_of, model_classes
from .results import Cell
from .test_images import clean_loader


@METRICS.register_module()
class MaskedAccuracy(Accuracy):
    """Accuracy among some of the model's classes: the scores of all others do not count.

    Args:
        among (Sequence[int]): The labels that count.
        **kwargs: Of MMPretrain's Accuracy.
    """

    def __init__(self, among: Sequence[int], **kwargs) -> None:
        super().__init__(**kwargs)
        self.among = torch.tensor(among)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Accuracies in per cent by name, as Accuracy gives them."""
        masked = []
        for result in results:
            # Scores are probabilities, of which none is that low.
            scores = torch.full_like(result['pred_score'], -1)
            scores[self.among] = result['pred_score'][self.among]
            masked.append(dict(result, pred_score=scores))
        return super().compute_metrics(masked)


class ImageSet(ABC):
    """One cell of images that are not the config's test images.

    Args:
        name: The set's.
        root: The folder that :meth:`labels` starts from.
        crops: Whether the images are cut to 224 px already. Defaults to False.
    """

    def __init__(self, name: str, root: str | Path, crops: bool = False) -> None:
        self.name = name
        self.root = Path(root)
        self.crops = crops

    @abstractmethod
    def labels(self, cfg: Config) -> dict[str, int]:
        """The model's labels by folder or image file."""

    def evaluator(self, cfg: Config) -> list[dict] | None:
        """Config of the evaluator, None for the config's own."""
        return None

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""
        return {self.name: dict(images_sha256=labelled_sha256(self.root, self.labels(cfg)))}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The one cell, read by the config's test loader and pipeline.

        Raises:
            UserError: The model has other classes, or the test pipeline is unfit.
        """
        loader = clean_loader(cfg)
        change = pipeline_for_crops if self.crops else list
        read_labelled(loader, self.root, self.labels(cfg), change)
        return {(self.name, 0): Trial(loader, self.evaluator(cfg))}


class ClassFolders(ImageSet):
    """A folder with a folder for each of some or all classes of the model.

    Args:
        name: What to call the set.
        root: The folder.

    Raises:
        UserError: There is no such folder, or a class folder has no images.
    """

    def __init__(self, name: str, root: str | Path) -> None:
        super().__init__(name, root)
        if not self.root.is_dir():
            raise UserError(
                f'the folder {root} does not exist: give {name} a folder with class folders'
            )
        _check_images(self.root, folders_of(self.root))

    def labels(self, cfg: Config) -> dict[str, int]:
        """The model's labels by class folder."""
        return labels_of(self.root, model_classes(cfg))


@dataclass(frozen=True)
class Layout:
    """How the authors of a test set with ImageNet's classes distribute it.

    Args:
        source: Where to get it.
        folder: What holds the class folders there.
        classes: How many class folders there are.
        names: What these can be called, by label. Defaults to WordNet ids.
        masked: Whether only classes that are there count. Defaults to False.
        crops: Whether the images are cut to 224 px already. Defaults to False.
    """

    source: str
    folder: str
    classes: int = 1000
    names: tuple[str, ...] = WNIDS
    masked: bool = False
    crops: bool = False


LAYOUTS = {
    # arXiv:1907.07174; https://github.com/hendrycks/natural-adv-examples. Figures of it and of
    # ImageNet-R are among their 200 classes (alibaba/easyrobust, easyrobust/benchmarks/ood).
    'imagenet_a': Layout(
        'https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar', 'imagenet-a', 200, masked=True
    ),
    # arXiv:2006.16241; https://github.com/hendrycks/imagenet-r
    'imagenet_r': Layout(
        'https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar', 'imagenet-r', 200, masked=True
    ),
    # arXiv:1902.10811; https://github.com/modestyachts/ImageNetV2
    'imagenet_v2': Layout(
        'https://huggingface.co/datasets/vaishaal/ImageNetV2 '
        '(imagenetv2-matched-frequency.tar.gz)',
        'imagenetv2-matched-frequency-format-val', names=tuple(map(str, range(1000))),
    ),
    # arXiv:1905.13549
    'imagenet_sketch': Layout('https://github.com/HaohanWang/ImageNet-Sketch', 'sketch'),
    # arXiv:1811.12231; not distributed but made by its authors' program.
    'stylized': Layout('https://github.com/rgeirhos/Stylized-ImageNet', 'val', crops=True),
}


class ImageNetSet(ImageSet):
    """A test set with ImageNet's classes, as its authors distribute it.

    Args:
        name: One of ``LAYOUTS``.
        root: The folder that the authors' archive was unpacked in, or the one with the class
            folders.

    Raises:
        UserError: It is another folder, or something is missing in it.
    """

    def __init__(self, name: str, root: str | Path) -> None:
        self.layout = layout = LAYOUTS[name]
        inner = Path(root, layout.folder)
        super().__init__(name, inner if inner.is_dir() else root, layout.crops)
        cure = (
            f'give {name} the folder {layout.folder}/ with {layout.classes} class folders from '
            f'{layout.source}'
        )
        self.found = labels_of(self.root, layout.names, cure)
        if len(self.found) != layout.classes:
            raise UserError(
                f'expected {layout.classes} class folders in {self.root}, found '
                f'{len(self.found)}: {cure}'
            )
        other = Path(root).name.lower().replace('-', '_')
        if other in LAYOUTS and other != name:  # sets of as many classes look alike
            raise UserError(f'{root} is called as {other} is: write {other}={root}, or rename it')
        _check_images(self.root, self.found)

    def labels(self, cfg: Config) -> dict[str, int]:
        """ImageNet's labels by class folder."""
        _check_imagenet(self.name, cfg)
        return self.found

    def evaluator(self, cfg: Config) -> list[dict] | None:
        """The config's accuracies, among the classes that are there if others do not count."""
        if not self.layout.masked:
            return None
        among = sorted(self.found.values())
        metrics = [metric for _, metric in metrics_of(cfg, 'test')]
        return [
            dict(metric, type=MaskedAccuracy, among=among)
            for metric in metrics if type_name(metric) == 'Accuracy'
        ] or [dict(type=MaskedAccuracy, among=among)]


class DAmageNet(ImageSet):
    """DAmageNet: ImageNet's validation images under an attack that transfers, 224 px.

    Chen et al., TPAMI 2020 (arXiv:2001.06325); https://github.com/Sizhe-Chen/DAmageNet.

    Args:
        root: The unpacked folder: images, in it or in its folder DAmageNet, and the list
            val_damagenet.txt of lines such as "ILSVRC2012_val_00000001.png 65".

    Raises:
        UserError: It is another folder, or something is missing in it.
    """

    LIST = 'val_damagenet.txt'
    SOURCE = 'http://www.pami.sjtu.edu.cn/Show/56/122'

    def __init__(self, root: str | Path) -> None:
        inner = Path(root, 'DAmageNet')
        super().__init__('damagenet', inner if inner.is_dir() else root, crops=True)
        file = next((x for x in (Path(root, self.LIST), inner / self.LIST) if x.is_file()), None)
        cure = f'give damagenet the folder with images and {self.LIST} from {self.SOURCE}'
        if file is None:
            raise UserError(f'expected the list {self.LIST} in {root}, found none: {cure}')
        self.found = _read_list(file)
        there = set(images_of(self.root, '.'))
        missing = [name for name in self.found if name not in there]
        if missing:
            raise UserError(
                f'{len(missing)} of {len(self.found)} images of {file} are not in {self.root}, '
                f'such as {missing[0]}: {cure}'
            )

    def labels(self, cfg: Config) -> dict[str, int]:
        """ImageNet's labels by image file."""
        _check_imagenet(self.name, cfg)
        return self.found


def _read_list(file: Path) -> dict[str, int]:
    found = {}
    for at, line in enumerate(file.read_text(errors='replace').splitlines(), 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal() or int(label) >= len(WNIDS):
            raise UserError(
                f'line {at} of {file} is {line!r}, not an image and a label of 0 to '
                f'{len(WNIDS) - 1}: write a line such as "ILSVRC2012_val_00000001.png 65"'
            )
        check_name(name, file)
        found[name] = int(label)
    if not found:
        raise UserError(f'{file} lists no images: write a line for each')
    return found


def _check_images(root: Path, folders: Sequence[str]) -> None:
    empty = [name for name in folders if not images_of(root, name)]
    if empty:
        raise UserError(
            f'expected images ({", ".join(IMAGE_ENDINGS)}) in every class folder of {root}, found '
            f'none in {some(empty, 3)}: put them there, or remove the folder if there shall be none'
        )


def _check_imagenet(name: str, cfg: Config) -> None:
    if not has_imagenet_classes(cfg):
        raise UserError(
            f"{name} has ImageNet's classes, but model.head does not have {len(WNIDS)}: give a "
            "classifier of ImageNet's classes, or choose another set"
        )
