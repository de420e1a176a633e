"""The test sets that have names, chosen for a config by what a command line says."""

import copy
import hashlib
import os
import os.path as osp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from mmengine.config import Config
from torch import nn

from projects.dat.attacks import (
    DiscreteAttack,
    PixelAttack,
    TokenChangeController,
    TokenFlipAttack,
)
from projects.dat.corruptions.coco_c.tree import check_options
from projects.dat.corruptions.names import CORRUPTIONS, SEVERITIES, expand
from projects.dat.runtime.arguments import nearest
from projects.dat.runtime.config import metrics_of, type_name
from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import DEFAULT_TOKENIZER, load_tokenizer

from .attacked import Attacked
from .coco_c import OnTheFly, Tree, cells_of
from .coco_o import CocoO
from .evaluate import Trial
from .imagenet_c import ImageNetC
from .imagenet_sets import LAYOUTS, ClassFolders, DAmageNet, ImageNetSet, ImageSet
from .model_classes import has_imagenet_classes, is_classifier
from .results import CLEAN, Cell

METRICS = dict(CocoMetric='coco/bbox_mAP', Accuracy='accuracy/top1')  # of each evaluator
ATTACKS = ('fgsm', 'pgd', 'dat', 'dat_flip', 'random_tokens', 'reconstruction')
DETECTOR_SETS = ('coco_c', 'coco_o')
CLASSIFIER_SETS = ('imagenet_c', *LAYOUTS, 'damagenet')


class TestSet(Protocol):
    """Images to evaluate on, as one or several cells."""

    name: str

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """How each cell is evaluated."""

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""


@dataclass(frozen=True)
class Options:
    """What the sets can be asked for.

    Args:
        corruptions: Names, or sets of them, of coco_c and imagenet_c.
        severities: Of 1 to 5, of coco_c and imagenet_c.
        channel_order: What corruptions get: 'bgr' or 'rgb'; None for what the set is known by.
        corruption_seed: Of corruptions and of random starts; None for 0, or a tree's own.
        norm: 'L2' or 'Linf', of fgsm and pgd.
        eps: Radii for fgsm and pgd, of images in 0..1, such as '4/255'.
        alpha: Step size of pgd; None for 2.5 eps / steps, Madry's rule.
        steps: Of pgd.
        token_change: Shares of the tokens that dat, dat_flip and random_tokens change.
        tokenizer: Of these and of reconstruction.
        losses: Regular expression; which of a model's losses are attacked.
    """

    corruptions: Sequence[str] = ('benchmark',)
    severities: Sequence[int] = SEVERITIES
    channel_order: str | None = None
    corruption_seed: int | None = None
    norm: str = 'Linf'
    eps: Sequence[str] = ('1/255', '2/255', '4/255')
    alpha: str | None = None
    steps: int = 10
    token_change: Sequence[float] = (0.038,)
    tokenizer: str = DEFAULT_TOKENIZER
    losses: str = 'loss'


def choose_sets(cfg: Config, asked: Sequence[str] | None, options: Options) -> list[TestSet]:
    """The test sets that are asked for.

    Args:
        cfg: The model's.
        asked: Each 'NAME', 'NAME=PATH' or a folder of class folders; None for the corruptions.
        options: What they are asked for.

    Raises:
        UserError: One is unknown, is for other models, or lacks its images.
    """
    if options.corruption_seed is not None and options.corruption_seed < 0:
        raise UserError(f'the seed must be at least 0, but is {options.corruption_seed}')
    classifier = is_classifier(cfg)
    asked = asked or ['imagenet_c' if classifier else 'coco_c']
    sets = [_choose(*text.partition('=')[::2], classifier, options) for text in asked]
    names = [found.name for found in sets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f'expected each test set once, found {name} {names.count(name)} times: name '
                'folders apart with NAME=PATH'
            )
    return sets


def _choose(name: str, path: str, classifier: bool, options: Options) -> TestSet:
    task, own, others = 'detector', DETECTOR_SETS, CLASSIFIER_SETS
    if classifier:
        task, own, others = 'classifier', CLASSIFIER_SETS, DETECTOR_SETS
    if name in others:
        raise UserError(
            f'{name} is not for a {task}, which the config has: choose among '
            f'{", ".join((*ATTACKS, *own))}'
        )
    cells = cells_of(expand(options.corruptions), options.severities)
    path = osp.expanduser(path)
    if name in ATTACKS:
        if path:
            raise UserError(
                f"{name} attacks the config's test images and takes no path, found {path}: write "
                f'{name} alone'
            )
        return _attacked(name, options)
    if name == 'coco_c':
        return _coco_c(cells, path or None, options)
    if name == 'coco_o':
        return CocoO(path)
    if name == 'imagenet_c':
        return ImageNetC(
            cells, path or None, options.corruption_seed, options.channel_order
        )
    if name in (*LAYOUTS, 'damagenet') and not path:
        source = DAmageNet.SOURCE if name == 'damagenet' else LAYOUTS[name].source
        raise UserError(
            f'{name} needs its images: write {name}=PATH with the folder that {source} has'
        )
    if name == 'damagenet':
        return DAmageNet(path)
    if name in LAYOUTS:
        return ImageNetSet(name, path)
    return _class_folders(name, path, task, own)


def _class_folders(name: str, path: str, task: str, known: tuple[str, ...]) -> ClassFolders:
    """A user's folder, which may be given without a name of its own."""
    known = (*ATTACKS, *known)
    if os.sep in name or (not path and osp.isdir(name)):
        path = osp.expanduser(f'{name}={path}' if path else name)  # folders may have a = too
        name = osp.basename(osp.abspath(path))
    if not path or task == 'detector':
        folder = ', or a folder of class folders' if task == 'classifier' else ''
        raise UserError(
            f'{name!r} is no test set for a {task}{nearest(name, known)}: choose among '
            f'{", ".join(known)}{folder}'
        )
    for taken in (*known, *CORRUPTIONS, CLEAN[0]):
        # imagenet-a is no folder of any classes.
        if name.lower().replace('-', '_') == taken:
            raise UserError(
                f'{name} is too much like the test set {taken}: write {taken}=PATH for that, or '
                'NAME=PATH with another name'
            )
    return ClassFolders(name, path)


def _coco_c(cells: list, root: str | None, options: Options) -> OnTheFly | Tree:
    """Corrupted on the fly, or from a tree, whose seed and channel order are the tree's own."""
    if root is None:
        return OnTheFly(cells, options.corruption_seed or 0, options.channel_order or 'bgr')
    tree = Tree(cells, root)
    check_options(root, tree.manifest, options.corruption_seed, options.channel_order)
    return tree


def _attacked(name: str, options: Options) -> Attacked:
    """The test images under an attack."""
    facts = dict(norm=options.norm)
    if name == 'fgsm':
        radii = {eps: number_of(eps) for eps in options.eps}
        attacks = {
            eps: PixelAttack(options.norm, radius, radius, 1) for eps, radius in radii.items()
        }
    elif name == 'pgd':
        facts |= dict(alpha=options.alpha or '2.5 eps / steps', steps=options.steps)
        attacks = {}
        for eps in options.eps:
            rule = 2.5 * number_of(eps) / max(options.steps, 1)  # PixelAttack refuses 0 steps
            alpha = rule if options.alpha is None else number_of(options.alpha)
            attacks[eps] = PixelAttack(
                options.norm, number_of(eps), alpha, options.steps, random_start=1.0
            )
    else:
        tokenizer = load_tokenizer(options.tokenizer)
        facts = dict(tokenizer_sha256=weights_sha256(tokenizer.network))
        attacks = {}
        for share in options.token_change if name != 'reconstruction' else [0]:
            if name == 'dat_flip':
                attacks[share] = TokenFlipAttack(tokenizer, rate=share)
            elif name == 'reconstruction':
                attacks[share] = DiscreteAttack(tokenizer, alpha=0.0, direction='random')
            else:
                attacks[share] = DiscreteAttack(
                    tokenizer,
                    controller=TokenChangeController(share),
                    direction='random' if name == 'random_tokens' else 'gradient',
                )
    return Attacked(name, attacks, options.losses, options.corruption_seed or 0, facts)


def weights_sha256(network: nn.Module) -> str:
    """Of names and values in its state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def number_of(text: str) -> float:
    """Of a number that may be written as a fraction, such as 4/255."""
    try:
        return float(Fraction(text))
    except (OverflowError, ValueError, ZeroDivisionError):
        raise UserError(f'expected a number such as 0.5 or 4/255, found {text!r}') from None


def trials_of(cfg: Config, sets: Iterable[TestSet]) -> dict[Cell, Trial]:
    """How each cell of some sets is evaluated."""
    return {cell: trial for found in sets for cell, trial in found.trials(cfg).items()}


def with_own_images(cfg: Config, sets: Sequence[TestSet]) -> Config:
    """The config to check: its test data need not exist where no set needs it."""
    needed = [found for found in sets if not isinstance(found, ImageSet)]
    if needed or not has_imagenet_classes(cfg):  # other classes are named by the test data alone
        return cfg
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader = next(iter(sets[0].trials(cfg).values())).loader
    return cfg


def default_metric(cfg: Config) -> str:
    """Of the test evaluator."""
    kinds = [type_name(metric) for _, metric in metrics_of(cfg, 'test')]
    found = [METRICS[kind] for kind in kinds if kind in METRICS]
    if not found:
        raise UserError(
            f'expected a test_evaluator of {" or ".join(METRICS)}, found {", ".join(kinds)}: name '
            'what it measures with --metric'
        )
    return found[0]
