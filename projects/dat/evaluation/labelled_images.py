"""Images with labels that are given by folder or file, for test sets of classification."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from projects.dat.runtime.config import leaf_datasets
from projects.dat.runtime.images import IMAGE_ENDINGS


@DATASETS.register_module()
class LabelledImages(BaseDataset):
    """All images of some folders, and single images, each folder with one label.

    Args:
        root (str): The folder that ``labels`` starts from.
        labels (dict): Labels, 0 to C - 1, by folder or image file.
        pipeline (Sequence[dict]): Transforms.
    """

    def __init__(self, root: str, labels: Mapping[str, int], pipeline: Sequence[dict]) -> None:
        self.root = root
        self.labels = labels
        super().__init__(pipeline=list(pipeline), test_mode=True)

    def load_data_list(self) -> list[dict]:
        """Paths and labels, in an order that depends on the names alone."""
        return [
            dict(img_path=os.path.join(self.root, file), gt_label=label)
            for file, label in labelled_files(self.root, self.labels)
        ]


def read_labelled(
    loader: dict, root: str | Path, labels: Mapping[str, int],
    change: Callable[[Sequence[dict]], list[dict]] = list,
) -> None:
    """Let a copy of a config's test loader give other images.

    Args:
        loader: Changed in place.
        root: See :class:`LabelledImages`.
        labels: See :class:`LabelledImages`.
        change: What becomes of the loader's pipeline. Defaults to list: it stays.
    """
    _, dataset = next(leaf_datasets(loader['dataset'], 'test_dataloader.dataset'))
    pipeline = change(dataset.get('pipeline') or [])
    loader['dataset'] = dict(
        type=LabelledImages, root=str(root), labels=dict(labels), pipeline=pipeline
    )


def labelled_sha256(root: str | Path, labels: Mapping[str, int]) -> str:
    """Of the names and labels of all images; see :class:`LabelledImages`."""
    digest = hashlib.sha256()
    for file, label in labelled_files(root, labels):
        digest.update(f'{file} {label}\n'.encode())
    return digest.hexdigest()


def labelled_files(root: str | Path, labels: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Sorted paths, relative to ``root``, and labels; see :class:`LabelledImages`."""
    for place, label in sorted(labels.items()):
        for file in images_of(root, place):
            yield file, label


def images_of(root: str | Path, place: str) -> list[str]:
    """Sorted paths, relative to ``root``, of the images at and below ``place``."""
    top = os.path.join(root, place)
    if not os.path.isdir(top):
        return [place]
    return sorted(
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, files in os.walk(top)
        for file in files
        if file.lower().endswith(IMAGE_ENDINGS)
    )
