"""Whether images that were made against one model mislead others.

They are written as 8-bit PNG files, as a user would pass them on, and read by the other models' own
test pipelines; classifiers' images, which are cut to size, are not cut again.
"""

import tempfile
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from PIL import Image

from projects.dat.attacks.base import Attack
from projects.dat.runtime.errors import UserError

from ..evaluate import identify
from ..results import CLEAN, Metrics, Result
from .images import class_names
from .matched import find_attacks
from .study import Study, listing, number
from .subject import Batch, NoAttack, Observe, Subject


def analyze(
    subject: Subject, tokenizer: str, rate: float, others: Mapping[str, Config]
) -> Result:
    """Evaluate every model on the images that every attack makes against the first.

    Args:
        subject: The model that is attacked, and images.
        tokenizer: See ``find_attacks``.
        rate: See ``find_attacks``.
        others: Configs of other models, with their ``load_from``, by name.

    Returns:
        By attack, 'clean' first, and model, the evaluator's metrics. The first model is among them:
        its figures tell what 8 bits have left of an attack.

    Raises:
        UserError: A model has other classes, or is unfit.
    """
    names = class_names(subject.cfg)
    for name, cfg in others.items():
        if class_names(cfg) != names:
            raise UserError(
                f'expected the {len(names)} classes of the attacked model in {name}, found '
                f'{len(class_names(cfg))} or others: give models of the same classes'
            )
    own = Path(subject.cfg.filename).stem
    models = {own: _model(subject, subject.cfg)}
    models |= {name: _model(subject, cfg) for name, cfg in others.items()}
    attacks, facts = find_attacks(subject, tokenizer, rate)
    attacks = {CLEAN[0]: NoAttack(), **attacks}

    @lru_cache(maxsize=1)
    def images(attack: str) -> 'Made':
        return Made(subject, attacks[attack])

    def measure(attack: str, model: str, observe: Observe) -> Metrics:
        made = images(attack)
        models[model].look_at_given(made.targets, made.side)
        return models[model].measure(NoAttack(), observe)

    for name, cfg in others.items():
        identity = identify(cfg, {}, subject.metric)
        facts[f'config of {name}'] = identity.config_sha256
        facts[f'checkpoint of {name}'] = identity.checkpoint_sha256
    study = Study('transfer', subject, subject.metric, facts)
    result = study.run({
        (attack, model): partial(measure, attack, model) for attack in attacks for model in models
    })
    study.write(result, dict(transfer=_grid(result)), _text(result))
    return result


class Made:
    """Files of attacked images, which last as long as this does.

    Args:
        subject: The attacked model, and images.
        attack: From ``projects.dat.attacks``.

    Attributes:
        targets: By file, a label or annotations.
        side: Of all images, if they are squares of one size with labels; else None.
    """

    def __init__(self, subject: Subject, attack: Attack) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.targets: dict[str, Any] = {}
        sizes = set()

        def write(batch: Batch) -> None:
            for i, (image, mask, sample) in enumerate(
                zip(batch.result.images, batch.mask, batch.samples, strict=True)
            ):
                rows, columns = mask[0].any(1), mask[0].any(0)
                image = image[:, rows][..., columns]
                pixels = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
                file = f'{self._folder.name}/{batch.first + i:06}.png'
                Image.fromarray(pixels).save(file, compress_level=1)
                corner = [int(columns.int().argmax()), int(rows.int().argmax())]
                self.targets[file] = _target(sample, corner)
                sizes.add(pixels.shape[:2])

        subject.attack(attack, write)
        labels = isinstance(next(iter(self.targets.values())), int)
        (height, width), *more = sizes
        self.side = height if labels and height == width and not more else None


def _target(sample, corner: list[int]) -> int | list[dict]:
    """A label, or annotations; boxes are moved by the corner of the image in the input."""
    if 'gt_label' in sample:
        return int(sample.gt_label)
    found = []
    for crowd, instances in enumerate((sample.gt_instances, sample.get('ignored_instances'))):
        if instances is None:
            continue
        boxes = instances.bboxes - instances.bboxes.new_tensor(corner * 2)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), instances.labels.tolist(), strict=True):
            found.append(dict(
                bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=crowd,
                category_id=label + 1,
            ))
    return found


def _model(subject: Subject, cfg: Config) -> Subject:
    cfg = Config({**cfg.to_dict(), 'work_dir': f'{subject.cfg.work_dir}/analyses/transfer'},
                 filename=cfg.filename)
    cfg.log_level = 'WARNING'
    return Subject(cfg, subject.losses, subject.seed)


def _grid(result: Result) -> Figure:
    """Attacks by models: the metric, colored by the share of the clean metric that is left."""
    attacks, models = (list(dict.fromkeys(cell[i] for cell in result.cells)) for i in (0, 1))
    values = np.array([[result.value((a, m)) for m in models] for a in attacks])
    left = values / np.maximum(values[0], 1e-9)
    figure = Figure((2.6 + 1.6 * len(models), 0.9 + 0.4 * len(attacks)), layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(left, 'cividis', vmin=0, vmax=1, aspect='auto')
    for (y, x), value in np.ndenumerate(values):
        color = 'black' if left[y, x] > 0.5 else 'white'
        axes.text(x, y, f'{100 * value:.1f}', ha='center', va='center', color=color)
    axes.set_xticks(range(len(models)), models, rotation=15, ha='right')
    axes.set_yticks(range(len(attacks)), attacks)
    axes.set_title(f'{result.identity.metric} x 100; attacked was {models[0]}', fontsize='medium')
    figure.colorbar(image).set_label('of the clean')
    return figure


def _text(result: Result) -> str:
    models = list(dict.fromkeys(model for _, model in result.cells))
    attacks = dict.fromkeys(attack for attack, _ in result.cells)
    count = next(iter(result.cells.values())).num_images
    parts = [
        f'{attack} ' + ', '.join(number(100 * result.value((attack, m))) for m in models)
        for attack in attacks
    ]
    return (
        f'{result.identity.metric} x 100 on {count} images made against {models[0]} and written '
        f'with 8 bits, of {listing(models)}: {listing(parts)}.'
    )
