"""Images with labels that are given by folder or file, for test sets of classification."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')


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
            for place, label in sorted(self.labels.items())
            for file in images_of(self.root, place)
        ]


def images_of(root: str | Path, place: str) -> list[str]:
    """Sorted paths, relative to ``root``, of the images at and below ``place``."""
    top = os.path.join(root, place)
    if not os.path.isdir(top):
        return [place]
    return sorted(
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, files in os.walk(top)
        for file in files
        if file.lower().endswith(ENDINGS)
    )
