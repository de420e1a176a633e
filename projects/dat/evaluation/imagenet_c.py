"""ImageNet-C (arXiv:1903.12261): corrupted images of 224 px, from a tree or made on the fly."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from mmengine.config import Config

from projects.dat.corruptions.coco_c.tree import (
    MANIFEST,
    cell_folder,
    check_options,
    describe,
    make_manifest,
    read_manifest,
)
from projects.dat.corruptions.crop import SIDE, CropForImageNetC
from projects.dat.corruptions.transform import CorruptImage
from projects.dat.runtime.config import leaf_datasets, type_name
from projects.dat.runtime.errors import UserError

from .evaluate import Trial
from .labelled_images import labelled_files, read_labelled
from .model_classes import labels_of, model_classes
from .results import CLEAN, Cell
from .test_images import clean_loader, image_names, images_sha256

PLACE = 'https://zenodo.org/records/2235448 with its archives unpacked side by side'

def pipeline_for_crops(pipeline: Sequence[dict], given: int = SIDE) -> list[dict]:
    """A test pipeline for images that are cut to ``given`` px already: its own resizing and
    cropping would cut them again, so they are brought to the final size at once, if it is another.

    Raises:
        UserError: It does not say its final size.
    """
    kept, resize, side = [], dict(type='Resize'), None
    for step in pipeline:
        name = type_name(step)
        size = step.get('crop_size', step.get('scale', step.get('size')))
        if not ('Resize' in name or 'Crop' in name) or size is None:
            kept.append(step)
            continue
        side = size if isinstance(size, int) else max(size)
        resize |= {k: step[k] for k in ('interpolation', 'backend') if k in step}
    if side is None:
        raise UserError(
            'expected a test pipeline with a step such as CenterCrop that fixes the size of '
            f'images, found {", ".join(map(type_name, pipeline))}: add one'
        )
    if side != given:
        at = next((i for i, step in enumerate(kept) if 'Pack' in type_name(step)), len(kept))
        kept.insert(at, dict(resize, scale=(side, side)))
    return kept


class ImageNetC:
    """The cells of ImageNet-C.

    Args:
        cells: Of ``cells_of``.
        root: A tree as the authors distribute it, ``<corruption>/<severity>/<class>/<image>``, or
            as ``tools/build_coco_c.py`` builds it; None to corrupt the config's test images in the
            loader's workers, cut to 224 px before that. The authors' images are JPEG files of
            quality 85, so figures on the fly are close to theirs, not the same.
        seed: Of corruptions; None for 0, or what the tree was built with.
        channel_order: 'rgb', as ImageNet-C was made, or 'bgr'; None for 'rgb', or what the tree was
            built with.

    Raises:
        UserError: The tree was built with something else than is asked for, or of whole images.
    """

    name = 'imagenet_c'

    def __init__(
        self, cells: Sequence[Cell], root: str | None, seed: int | None, channel_order: str | None
    ) -> None:
        self.cells = cells
        self.root = root and Path(root)
        self.seed = seed or 0
        self.channel_order = channel_order or 'rgb'
        # The authors' trees have no manifest.
        self.manifest = None
        if self.root and (self.root / MANIFEST).exists():
            self.manifest = read_manifest(self.root)
            check_options(root, self.manifest, seed, channel_order)
            if self.manifest['crop'] != SIDE:
                raise UserError(
                    f'{root} has whole images, and ImageNet-C is of crops of {SIDE} px: build it '
                    'without --annotations'
                )
        elif self.root and (seed, channel_order) != (None, None):
            raise UserError(
                f'{root} is corrupted already, with a seed and an order of channels of its '
                "authors': leave --seed and --channel-order out"
            )

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""
        facts = dict(images_sha256=images_sha256(cfg))
        if self.root is None:
            facts |= describe(make_manifest('', self.seed, self.channel_order, 'png', None))
        elif self.manifest:
            facts |= describe(self.manifest)
        else:
            facts |= dict(format='as distributed')
        return {self.name: facts}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The clean images and every corrupted set, for which nothing but the images changes.

        Raises:
            UserError: The tree lacks something, or the test pipeline is unfit.
        """
        classes = self.root and model_classes(cfg)
        wanted = image_names(cfg) if self.manifest else None
        trials = {}
        for cell in self.cells:
            loader = clean_loader(cfg)
            if cell != CLEAN and self.root:
                self._read_tree(loader, classes, wanted, *cell)
            elif cell != CLEAN:
                self._corrupt(loader, *cell)
            trials[cell] = Trial(loader)
        return trials

    def _corrupt(self, loader: dict, corruption: str, severity: int) -> None:
        for path, dataset in leaf_datasets(loader['dataset'], 'test_dataloader.dataset'):
            read, *rest = dataset.get('pipeline') or [{}]
            if 'LoadImage' not in type_name(read):
                raise UserError(
                    f'expected {path}.pipeline to begin with LoadImageFromFile, found '
                    f'{type_name(read) or "no steps"}: let the pipeline read image files'
                )
            corrupt = dict(
                type=CorruptImage, corruption=corruption, severity=severity, seed=self.seed,
                channel_order=self.channel_order,
            )
            dataset['pipeline'] = [
                read, dict(type=CropForImageNetC), corrupt, *pipeline_for_crops(rest)
            ]

    def _read_tree(
        self, loader: dict, classes: tuple[str, ...], wanted: set[str] | None, corruption: str,
        severity: int,
    ) -> None:
        folder = self.root / cell_folder(corruption, severity)
        if not folder.is_dir():
            raise UserError(
                f'{self.root} has no folder {cell_folder(corruption, severity)}: give a tree of '
                f'ImageNet-C, {PLACE}, or choose --corruptions and --severities that it has'
            )
        labels = labels_of(folder, classes)
        missing = set(classes) - labels.keys()
        if wanted is not None:
            found = labelled_files(folder, labels)
            missing = wanted ^ {PurePath(name).with_suffix('').as_posix() for name, _ in found}
        if missing:
            raise UserError(
                f"expected in {folder} what the config's test data has, but {len(missing)} such as "
                f'{min(missing)} are in one of the two alone: build the tree of that data to its '
                'end, or unpack all of it'
            )
        read_labelled(loader, folder, labels, pipeline_for_crops)
