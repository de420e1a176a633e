"""Pictures of test images, as they are and corrupted or attacked, with what a model finds there."""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from projects.dat.corruptions.names import CORRUPTIONS
from projects.dat.corruptions.transform import image_key
from projects.dat.runtime.files import replacing

from .evaluate import Trial
from .results import CLEAN, Cell, cell_name, sort_key

FOLDER = 'pictures'  # in a run's folder
SCORE = 0.3  # of the least box that is drawn
DESCRIPTION = 'Description'
"""PNG's own keyword (https://www.w3.org/TR/png/#11keywords) for what a picture shows in words."""
_COLUMNS = 4
_WIDTH = 400  # px of a panel: classes and scores on boxes can be read
_GAP = 8  # px
_FONT = 20  # px


@dataclass
class Panel:
    """A picture, the lines above it, and what there is to see."""

    lines: list[str]
    words: str
    image: Image.Image


def draw_examples(
    runner: Runner, trials: Mapping[Cell, Trial], count: int, folder: str | Path
) -> None:
    """Draw the first test images, each as one PNG file with a panel for each of some cells.

    Every rank of a distributed run calls it, and rank 0 draws.

    Of every set there is the middle one of its levels. A detector's panels have its boxes with a
    score of at least 0.3, and follow one of the ground truth; a classifier's have the class that it
    finds likeliest. The files also say in words what is to be seen (PNG's keyword Description).

    Args:
        runner: With the model, loaded.
        trials: From ``trials_of``, with the clean images; sets of other images are passed over.
        count: How many images; they are taken in the order of the data set.
        folder: Made if missing; files are named after the images' places in the data set, their
            folders and themselves.

    Raises:
        UserError: A file cannot be written.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model.eval()
    sheets = {}
    for cell in chosen_cells(trials):
        trial = trials[cell]
        loader = runner.build_dataloader(trial.loader)  # its sampler asks the other ranks
        dataset = loader.dataset
        if not is_main_process():
            continue
        if cell == CLEAN:
            first = map(dataset.get_data_info, range(min(count, len(dataset))))
            sheets = {_key(info): (info, []) for info in first}
            names = dataset.metainfo.get('classes')  # a tree's data set need not know them
        with trial.attack(model) if trial.attack else contextlib.nullcontext() as adversary:
            for key, i in _places(dataset, set(sheets)).items():
                data = loader.collate_fn([dataset[i]])
                # Loaders give BGR, or gray.
                image = data['inputs'][0].expand(3, -1, -1).flip(0) / 255
                if adversary is not None:
                    adversary.keep_result = True
                with torch.no_grad():
                    sample, = model.test_step(data)
                if adversary is not None:
                    image = adversary.kept[3].images[0]
                info, panels = sheets[key]
                draw = _detections if 'pred_instances' in sample else _guess
                panels += draw(cell, sample.cpu(), image.float().cpu(), info, names)
    for i, (info, panels) in enumerate(sheets.values()):
        path = PurePath(info['img_path'])
        _save(panels, Path(folder, f'{i:03}_{path.parent.name}_{path.stem}.png'), path.name)


def chosen_cells(trials: Mapping[Cell, Trial]) -> list[Cell]:
    """The clean images, and of every set that changes them the middle one of its levels."""
    levels = {}
    for cell, trial in trials.items():
        if trial.attack or cell[0] in CORRUPTIONS:
            levels.setdefault(cell[0], []).append(cell)
    return [CLEAN, *(sorted(cells, key=sort_key)[len(cells) // 2] for cells in levels.values())]


def _key(info: dict) -> PurePath:
    """The same for an image and its copy in a tree, whose file has another ending."""
    return PurePath(str(image_key(info))).with_suffix('')


def _places(dataset: BaseDataset, wanted: set[PurePath]) -> dict[PurePath, int]:
    """Where some images are in a data set."""
    places = {}
    for i in range(len(dataset)):
        if len(places) == len(wanted):
            break
        if (key := _key(dataset.get_data_info(i))) in wanted:
            places[key] = i
    return places


def _guess(
    cell: Cell, sample: DataSample, image: Tensor, info: dict, names: Sequence[str] | None
) -> list[Panel]:
    """A classifier's."""
    score, label = sample.pred_score.max(dim=0)
    truth = info.get('gt_label')
    wrong = truth is not None and int(label) not in np.atleast_1d(truth)
    words = f'{_name(names, label)} {score:.2f}{" (wrong)" * wrong}'
    picture = _scaled(image)
    return [Panel([cell_name(cell), words], f'{cell_name(cell)}: {words}', picture)]


def _detections(
    cell: Cell, sample: DetDataSample, image: Tensor, info: dict, names: Sequence[str] | None
) -> list[Panel]:
    """A detector's, after the ground truth where the cell is of the clean images."""
    height, width = sample.ori_shape
    across, down = sample.get('scale_factor', (1, 1))
    # What is beyond is padding.
    picture = _scaled(image[:, :round(height * down), :round(width * across)])
    found = sample.pred_instances
    shown = {cell_name(cell): found[found.scores >= SCORE]}
    if cell == CLEAN and 'instances' in info:
        objects = [x for x in info['instances'] if not x.get('ignore_flag')]
        truth = InstanceData(
            bboxes=torch.tensor([x['bbox'] for x in objects]).reshape(-1, 4),
            labels=torch.tensor([x['bbox_label'] for x in objects], dtype=torch.long),
        )
        shown = {'ground truth': truth, **shown}
    panels = []
    for title, instances in shown.items():
        # Boxes are in pixels of the file; masks would need to be resized.
        drawn = InstanceData(
            bboxes=instances.bboxes * (picture.width / width), labels=instances.labels
        )
        if 'scores' in instances:
            drawn.scores = instances.scores
        visualizer = DetLocalVisualizer()
        visualizer.dataset_meta = dict(classes=names)
        sample = DetDataSample(gt_instances=drawn)
        visualizer.add_datasample(title, np.asarray(picture), sample, draw_pred=False)
        counts = Counter(_name(names, label) for label in instances.labels)
        words = ', '.join(f'{count} {name}' for name, count in counts.items()) or 'nothing'
        drawing = Image.fromarray(visualizer.get_image())
        panels.append(Panel([title], f'{title}: {words}', drawing))
    return panels


def _name(names: Sequence[str] | None, label: Tensor) -> str:
    return f'class {int(label)}' if names is None else names[int(label)]


def _scaled(image: Tensor) -> Image.Image:
    """An image, RGB, 0..1, as wide as a panel."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    height = max(1, round(_WIDTH * pixels.shape[0] / pixels.shape[1]))
    return Image.fromarray(pixels).resize((_WIDTH, height))


def _save(panels: list[Panel], file: Path, name: str) -> None:
    """Write panels as one picture, row by row, and what it shows in words."""
    font, line = ImageFont.load_default(_FONT), round(1.4 * _FONT)
    top = line * max(len(panel.lines) for panel in panels) + _GAP
    across = math.ceil(len(panels) / math.ceil(len(panels) / _COLUMNS))
    width = _WIDTH + _GAP
    height = top + max(panel.image.height for panel in panels) + _GAP
    size = across * width + _GAP, math.ceil(len(panels) / across) * height
    sheet = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(sheet)
    for i, panel in enumerate(panels):
        x, y = _GAP + i % across * width, i // across * height
        for j, text in enumerate(panel.lines):
            draw.text((x, y + _GAP + j * line), text, 'black', font)
        sheet.paste(panel.image, (x, y + top))
    words = PngInfo()
    words.add_itxt(DESCRIPTION, f'{name}. {"; ".join(panel.words for panel in panels)}.')
    with replacing(file) as temporary:
        sheet.save(temporary, pnginfo=words)
