"""Where the images of a cell of COCO-C come from: changes to the config of a test loader."""

import copy
import hashlib
import json
import os.path as osp
import shlex
from collections.abc import Iterable
from pathlib import Path

import mmengine.fileio as fileio
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from projects.dat.corruptions.coco_c.tree import ANNOTATIONS, cell_folder, list_files, read_manifest
from projects.dat.corruptions.transform import CorruptImage
from projects.dat.runtime.config import leaf_datasets
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.data import annotation_file, image_folder

Cell = tuple[str | None, int]
"""A corruption and a severity; severity 0, without a corruption, is the clean images."""


class OnTheFly:
    """Images corrupted in the loader's workers, right after they are read.

    Args:
        seed: Seed of the corruptions.
        channel_order: See :class:`projects.dat.corruptions.transform.CorruptImage`.
    """

    image_format = None

    def __init__(self, seed: int, channel_order: str) -> None:
        self.seed = seed
        self.channel_order = channel_order

    def check(self, cfg: Config, cells: Iterable[Cell]) -> None:
        """Check that the config's images can be corrupted.

        Raises:
            UserError: A pipeline has no image loader.
        """
        cell_loader(cfg, self, ('fog', 1))

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
            type=CorruptImage, corruption=corruption, severity=severity, seed=self.seed,
            channel_order=self.channel_order,
        )
        dataset['pipeline'] = [*pipeline[:at + 1], step, *pipeline[at + 1:]]


class Tree:
    """Images from a folder that ``tools/build_coco_c.py`` built.

    Args:
        root: The folder. Its manifest says with which seed and channel order it was built.

    Raises:
        UserError: It is no such folder.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root).resolve()
        self.manifest = read_manifest(self.root)
        self.seed = self.manifest['seed']
        self.channel_order = self.manifest['channel_order']
        quality = self.manifest['quality']
        self.image_format = self.manifest['format'] + ('' if quality is None else f'-{quality}')

    def check(self, cfg: Config, cells: Iterable[Cell]) -> None:
        """Check that the tree is of the config's annotation file and has all images of the cells.

        Raises:
            UserError: It is of another file, images are missing, or the config reads images in
                another way than they were read for the tree.
        """
        for path, dataset in datasets_of(cfg):
            _check_loader(path, dataset)
            if _sha256([dataset]) != self.manifest['annotations_sha256']:
                raise UserError(
                    f'{self.root} was not built from {annotation_file(dataset)}, the annotation '
                    f'file of {path}: build a tree of it with `{_build_command(dataset, "DIR")}`'
                )
        missing = self._missing(cells)
        if missing:
            severities = sorted({str(s) for found in missing.values() for s in found})
            named = (f'{name} {" ".join(map(str, found))}' for name, found in missing.items())
            options = ['--seed', str(self.seed), '--channel-order', self.channel_order]
            options += ['--format', self.manifest['format']]
            if self.manifest['quality'] is not None:
                options += ['--quality', str(self.manifest['quality'])]
            options += ['--corruptions', *missing, '--severities', *severities]
            raise UserError(
                f'{self.root} lacks images of {", ".join(named)}: build them with '
                f'`{_build_command(datasets_of(cfg)[0][1], str(self.root), *options)}`'
            )

    def _missing(self, cells: Iterable[Cell]) -> dict[str, list[int]]:
        """Severities that are not there, or not whole, by their corruption."""
        file = self.root / ANNOTATIONS
        images = json.loads(file.read_bytes())['images'] if file.exists() else []
        names = {osp.normpath(image['file_name']) for image in images}
        missing = {}
        for corruption, severity in cells:
            if severity == 0:
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


def cell_loader(cfg: Config, images: OnTheFly | Tree, cell: Cell) -> dict:
    """Config of the test loader that gives one cell's images; the rest is as ``cfg`` has it."""
    loader = copy.deepcopy(cfg.test_dataloader)
    loader['persistent_workers'] = False  # they would outlive their cell
    corruption, severity = cell
    if severity:
        for path, dataset in leaf_datasets(loader['dataset'], 'test_dataloader.dataset'):
            images.corrupt(path, dataset, corruption, severity)
    return loader


def datasets_of(cfg: Config) -> list[tuple[str, dict]]:
    """The data sets of the test loader inside all wrappers, with their dotted paths."""
    return list(leaf_datasets(cfg.test_dataloader['dataset'], 'test_dataloader.dataset'))


def annotations_sha256(cfg: Config) -> str:
    """Of the bytes of the test data's annotation file, or of several, one after the other.

    Raises:
        UserError: One cannot be read.
    """
    return _sha256([dataset for _, dataset in datasets_of(cfg)])


def _sha256(datasets: list[dict]) -> str:
    digest = hashlib.sha256()
    for dataset in datasets:
        if dataset.get('ann_file'):
            file = annotation_file(dataset)
            try:
                digest.update(fileio.get(file, backend_args=dataset.get('backend_args')))
            except OSError as error:
                raise UserError(
                    f'the annotation file {file} cannot be read ({error.strerror or error}): give '
                    'the place of your data with --data-root PATH'
                ) from None
    return digest.hexdigest()


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
