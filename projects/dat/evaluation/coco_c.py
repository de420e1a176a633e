"""COCO-C: where the images of its cells come from, as changes to the config of a test loader."""

import json
import os.path as osp
import shlex
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from projects.dat.corruptions.coco_c.tree import (
    ANNOTATIONS,
    cell_folder,
    describe,
    list_files,
    make_manifest,
    read_manifest,
)
from projects.dat.corruptions.names import SEVERITIES
from projects.dat.corruptions.transform import CorruptImage
from projects.dat.runtime.config import leaf_datasets
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.coco import annotation_file, image_folder

from .evaluate import Trial
from .results import CLEAN, Cell
from .test_images import annotations_sha256, clean_loader, datasets_of, images_sha256


def cells_of(corruptions: Iterable[str], severities: Iterable[int] = SEVERITIES) -> list[Cell]:
    """The clean images first, then each corruption at each severity."""
    return [CLEAN, *product(dict.fromkeys(corruptions), sorted(set(severities)))]


class CocoC:
    """The cells of COCO-C as data loaders.

    Args:
        cells: Of :func:`cells_of`.
        manifest: Of a tree that holds the images, or would hold them; see ``read_manifest``.
    """

    name = 'coco_c'

    def __init__(self, cells: Sequence[Cell], manifest: dict) -> None:
        self.cells = cells
        self.manifest = manifest

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity.

        Raises:
            UserError: An annotation file cannot be read.
        """
        facts = describe(self.manifest)
        return {self.name: dict(facts, annotations_sha256=images_sha256(cfg))}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The test loader of each cell; but for the images it is as ``cfg`` has it.

        Raises:
            UserError: The config's images cannot be corrupted, or are not those of the tree.
        """
        self.check(cfg)
        trials = {}
        for cell in self.cells:
            loader = clean_loader(cfg)
            if cell != CLEAN:
                for path, dataset in leaf_datasets(loader['dataset'], 'test_dataloader.dataset'):
                    self.corrupt(path, dataset, *cell)
            trials[cell] = Trial(loader)
        return trials


class OnTheFly(CocoC):
    """Images corrupted in the loader's workers, right after they are read.

    Args:
        cells: Of :func:`cells_of`.
        seed: Seed of the corruptions.
        channel_order: See :class:`projects.dat.corruptions.transform.CorruptImage`.
    """

    def __init__(self, cells: Sequence[Cell], seed: int, channel_order: str) -> None:
        super().__init__(cells, make_manifest('', seed, channel_order, 'png', None))

    def check(self, cfg: Config) -> None:
        """Nothing that :meth:`corrupt` would not find."""

    def corrupt(self, path: str, dataset: dict, corruption: str, severity: int) -> None:
        """Let ``dataset``, the config of a leaf data set at ``path``, give corrupted images."""
        pipeline = dataset.get('pipeline') or []
        at = next((i for i, step in enumerate(pipeline) if _reads_files(step['type'])), None)
        if at is None:
            raise UserError(
                f'expected a LoadImageFromFile in {path}.pipeline, to corrupt images right after '
                f'it, but found {", ".join(str(s["type"]) for s in pipeline) or "no steps"}: let '
                'the pipeline read image files'
            )
        step = dict(
            type=CorruptImage, corruption=corruption, severity=severity,
            seed=self.manifest['seed'], channel_order=self.manifest['channel_order'],
        )
        dataset['pipeline'] = [*pipeline[:at + 1], step, *pipeline[at + 1:]]


class Tree(CocoC):
    """Images from a folder that ``tools/build_coco_c.py`` built.

    Args:
        cells: Of :func:`cells_of`.
        root: The folder. Its manifest says with which seed and channel order it was built.

    Raises:
        UserError: It is no such folder.
    """

    def __init__(self, cells: Sequence[Cell], root: str) -> None:
        self.root = Path(root).resolve()
        super().__init__(cells, read_manifest(self.root))

    def check(self, cfg: Config) -> None:
        """Check that the tree is of the config's annotation file and has all images of the cells.

        Raises:
            UserError: It is of another file, images are missing, or the config reads images in
                another way than they were read for the tree.
        """
        datasets = datasets_of(cfg)
        for path, dataset in datasets:
            _check_loader(path, dataset)
            if annotations_sha256([dataset]) != self.manifest['annotations_sha256']:
                raise UserError(
                    f'{self.root} was not built from {annotation_file(dataset)}, the annotation '
                    f'file of {path}: build a tree of it with `{_build_command(dataset, "DIR")}`'
                )
        missing = self._missing()
        if missing:
            severities = sorted({str(s) for found in missing.values() for s in found})
            named = (f'{name} {" ".join(map(str, found))}' for name, found in missing.items())
            options = []
            for key in ('seed', 'channel_order', 'format', 'quality'):
                if self.manifest[key] is not None:
                    options += [f'--{key.replace("_", "-")}', str(self.manifest[key])]
            options += ['--corruptions', *missing, '--severities', *severities]
            raise UserError(
                f'{self.root} lacks images of {", ".join(named)}: build them with '
                f'`{_build_command(datasets[0][1], str(self.root), *options)}`'
            )

    def _missing(self) -> dict[str, list[int]]:
        """Severities that are not there, or not whole, by their corruption."""
        file = self.root / ANNOTATIONS
        images = json.loads(file.read_bytes())['images'] if file.exists() else []
        names = {osp.normpath(image['file_name']) for image in images}
        missing = {}
        for corruption, severity in self.cells:
            if (corruption, severity) == CLEAN:
                continue
            there = list_files(self.root, cell_folder(corruption, severity))
            if not images or not names <= there:
                missing.setdefault(corruption, []).append(severity)
        return missing

    def corrupt(self, path: str, dataset: dict, corruption: str, severity: int) -> None:
        """Let ``dataset``, the config of a leaf data set, read the tree's images."""
        dataset['ann_file'] = str(self.root / ANNOTATIONS)
        folder = str(self.root / cell_folder(corruption, severity))
        dataset['data_prefix'] = dict(dataset.get('data_prefix') or {}, img=folder)


def _check_loader(path: str, dataset: dict) -> None:
    """Turned or gray images would not be those that on-the-fly corruption gives."""
    for step in dataset.get('pipeline') or []:
        for key, read in (('color_type', 'color'), ('imdecode_backend', 'cv2')):
            if _reads_files(step['type']) and (step.get(key) or read) != read:
                raise UserError(
                    f'{path} reads images with {key}={step[key]!r}, but trees are built with '
                    f'{read!r}: change the loader, or leave --coco-c out'
                )


def _reads_files(kind: str | type) -> bool:
    if isinstance(kind, str):
        kind = TRANSFORMS.get(kind)
    return (
        isinstance(kind, type)
        and issubclass(kind, LoadImageFromFile)
        and not issubclass(kind, LoadImageFromNDArray)
    )


def _build_command(dataset: dict, out: str, *options: str) -> str:
    return shlex.join([
        'python', 'tools/build_coco_c.py', '--images', image_folder(dataset), '--annotations',
        annotation_file(dataset), '--out', out, *options,
    ])
