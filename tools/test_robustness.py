"""Evaluate robustness: `python tools/test_robustness.py CONFIG CHECKPOINT --on SET...`.

A SET is a word, or WORD=PATH where it needs files, or the path of a folder of class folders:

    any model        fgsm, pgd, dat                   the test images under attack
    detectors        coco_c[=TREE], coco_o=PATH
    classifiers      imagenet_c[=TREE], imagenet_a=PATH, imagenet_r=PATH, imagenet_v2=PATH,
                     imagenet_sketch=PATH, stylized=PATH, damagenet=PATH, PATH

From imagenet_a on, sets have images of their own: the config's test images need not be there.
A set consists of cells, such as (fog, 3) or (pgd, 4/255). The result is written after every cell:
the same command goes on where it was cut off, and further sets, corruptions, severities or eps add
to the file.

    python tools/test_robustness.py configs/classification/efficientnet_lite0_in1k.py CHECKPOINT \\
        --on imagenet_c imagenet_a=data/imagenet-a pgd --eps 1/255 4/255

Without a TREE images are corrupted in the loader's workers. Several GPUs:
TOOL=test_robustness.py tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments].
"""

import argparse
import copy
import os
import os.path as osp
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.config import Config  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402

from projects.dat.attacks import DiscreteAttack, PixelAttack, TokenChangeController  # noqa: E402
from projects.dat.corruptions import (  # noqa: E402
    CHANNEL_ORDERS, CORRUPTIONS, SETS, SEVERITIES, expand,
)
from projects.dat.evaluation.attacked import Attacked  # noqa: E402
from projects.dat.evaluation.coco_c import OnTheFly, Tree, cells_of  # noqa: E402
from projects.dat.evaluation.coco_o import CocoO  # noqa: E402
from projects.dat.evaluation.comparison import Comparison  # noqa: E402
from projects.dat.evaluation.evaluate import Trial, evaluate, identify  # noqa: E402
from projects.dat.evaluation.imagenet_c import ImageNetC  # noqa: E402
from projects.dat.evaluation.imagenet_sets import (  # noqa: E402
    LAYOUTS, ClassFolders, DAmageNet, ImageNetSet, ImageSet,
)
from projects.dat.evaluation.model_classes import has_imagenet_classes, is_classifier  # noqa: E402
from projects.dat.evaluation.report import terminal_text  # noqa: E402
from projects.dat.evaluation.results import CLEAN, Cell  # noqa: E402
from projects.dat.runtime.arguments import nearest  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.config import metrics_of, type_name  # noqa: E402
from projects.dat.tokenizer import DEFAULT_TOKENIZER, load_tokenizer  # noqa: E402

METRICS = dict(CocoMetric='coco/bbox_mAP', Accuracy='accuracy/top1')  # of each evaluator
ATTACKS = ('fgsm', 'pgd', 'dat')
DETECTOR_SETS = ('coco_c',)
CLASSIFIER_SETS = ('imagenet_c', *LAYOUTS, 'damagenet')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file that tools/train.py saved, or a URL')
    add_evaluation_arguments(parser)
    parser.add_argument(
        '--out', metavar='FILE',
        help='JSON file of the result (default: <work dir>/robustness.json)',
    )
    return parser.parse_args()


def add_evaluation_arguments(parser: argparse.ArgumentParser, seed: str = '--seed') -> None:
    """Add what says which cells are evaluated and how; ``seed`` is that option's name."""
    parser.add_argument(
        '--on', nargs='+', metavar='SET[=PATH]',
        help='test sets, see above (default: coco_c for detectors, imagenet_c for classifiers)',
    )
    add_corruption_arguments(parser, seed)
    attacks = parser.add_argument_group('fgsm, pgd and dat')
    attacks.add_argument(
        '--norm', choices=('L2', 'Linf'), default='Linf', help='of fgsm and pgd (default: Linf)'
    )
    attacks.add_argument(
        '--eps', nargs='+', default=['1/255', '2/255', '4/255'], metavar='E',
        help='radii for fgsm and pgd, of images in 0..1 (default: 1/255 2/255 4/255)',
    )
    attacks.add_argument(
        '--alpha', metavar='A', help="step size of pgd (default: 2.5 eps / steps, Madry's rule)"
    )
    attacks.add_argument('--steps', type=int, default=10, help='of pgd (default: 10)')
    attacks.add_argument(
        '--token-change', nargs='+', type=float, default=[0.038], metavar='SHARE',
        help='shares of the tokens that dat changes (default: 0.038)',
    )
    attacks.add_argument(
        '--tokenizer', default=DEFAULT_TOKENIZER, metavar='NAME_OR_FILE',
        help='of dat (default: %(default)s)',
    )
    attacks.add_argument(
        '--losses', default='loss', metavar='REGEX',
        help="which of a model's losses are attacked, by name: cls or bbox of many detectors "
        '(default: all)',
    )


def add_corruption_arguments(parser: argparse.ArgumentParser, seed: str = '--seed') -> None:
    """Add what coco_c and imagenet_c need, and what all sets share."""
    parser.add_argument(
        '--corruptions', nargs='+', default=['benchmark'], metavar='NAME',
        choices=[*SETS, *CORRUPTIONS],
        help=f'of {", ".join(CORRUPTIONS)}; or sets of them: {", ".join(SETS)} (default: '
        'benchmark)',
    )
    parser.add_argument(
        '--severities', nargs='+', type=int, default=SEVERITIES, choices=SEVERITIES, metavar='S',
        help='of 1 to 5 (default: all)',
    )
    parser.add_argument(
        '--channel-order', choices=CHANNEL_ORDERS,
        help='what the corruptions get: bgr, as in published figures of COCO-C, or rgb, as in '
        'ImageNet-C (default: bgr for detectors, rgb for classifiers; with a tree as it was built)',
    )
    parser.add_argument(
        seed, type=int, dest='corruption_seed', metavar='SEED',
        help='of corruptions and random starts (default: 0; with a tree as it was built)',
    )
    parser.add_argument(
        '--metric', metavar='NAME',
        help='what is summarized, as the evaluator calls it (default: coco/bbox_mAP of detectors, '
        'accuracy/top1 of classifiers)',
    )


def evaluation_options(args: argparse.Namespace) -> list[str]:
    """What :func:`add_evaluation_arguments` read, as a command line of this tool."""
    parser = argparse.ArgumentParser()
    add_evaluation_arguments(parser)
    options = []
    for name in vars(parser.parse_args([])):
        value = getattr(args, name)
        if value is not None:
            option = 'seed' if name == 'corruption_seed' else name.replace('_', '-')
            values = value if isinstance(value, (list, tuple)) else [value]
            options += [f'--{option}', *map(str, values)]
    return options


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    evaluate_sets(cfg, args, args.out or osp.join(cfg.work_dir, 'robustness.json'))


def evaluate_sets(cfg: Config, args: argparse.Namespace, out: str) -> None:
    """Evaluate the sets that the arguments ask for, and print the tables."""
    chosen = choose_sets(cfg, args)  # first: it looks into their folders at once
    cli.check_once(with_own_images(cfg, chosen), 'test')
    trials = trials_of(cfg, chosen)
    data = {name: facts for found in chosen for name, facts in found.data(cfg).items()}
    identity = identify(cfg, data, args.metric or default_metric(cfg))
    with writing_to(cfg.work_dir):
        result = evaluate(cfg, trials, identity, out)
    if is_main_process():
        print(f'\n{terminal_text(Comparison({Path(args.checkpoint).name: [result]}))}\nwrote {out}')


def with_own_images(cfg: Config, sets: list) -> Config:
    """The config to check: its test data need not exist where no set needs it."""
    needed = [found for found in sets if not isinstance(found, ImageSet)]
    if needed or not has_imagenet_classes(cfg):  # other classes are named by the test data alone
        return cfg
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader = next(iter(sets[0].trials(cfg).values())).loader
    return cfg


def trials_of(cfg: Config, sets: list) -> dict[Cell, Trial]:
    """How each cell of some sets is evaluated."""
    return {cell: trial for found in sets for cell, trial in found.trials(cfg).items()}


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


def choose_sets(cfg: Config, args: argparse.Namespace) -> list:
    """The test sets that the arguments ask for, each with ``trials(cfg)`` and ``data(cfg)``."""
    if args.corruption_seed is not None and args.corruption_seed < 0:
        raise UserError(f'the seed must be at least 0, but is {args.corruption_seed}')
    classifier = is_classifier(cfg)
    asked = args.on or ['imagenet_c' if classifier else 'coco_c']
    sets = [choose_set(*text.partition('=')[::2], classifier, args) for text in asked]
    names = [found.name for found in sets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f'expected each test set once, found {name} {names.count(name)} times: name '
                'folders apart with NAME=PATH'
            )
    return sets


def choose_set(name: str, path: str, classifier: bool, args: argparse.Namespace):
    """One test set.

    Raises:
        UserError: There is none of that name, it is for other models, or its images are not there.
    """
    task, own, others = 'detector', DETECTOR_SETS, CLASSIFIER_SETS
    if classifier:
        task, own, others = 'classifier', CLASSIFIER_SETS, DETECTOR_SETS
    if name in others:
        raise UserError(
            f'{name} is not for a {task}, which the config has: choose among '
            f'{", ".join((*ATTACKS, *own))}'
        )
    cells = cells_of(expand(args.corruptions), args.severities)
    path = osp.expanduser(path)
    if name in ATTACKS:
        if path:
            raise UserError(
                f"{name} attacks the config's test images and takes no path, found {path}: write "
                f'{name} alone'
            )
        return attacked(name, args)
    if name == 'coco_c':
        return coco_c(cells, path or None, args)
    if name == 'coco_o':
        return CocoO(path)
    if name == 'imagenet_c':
        order = args.channel_order or 'rgb'
        return ImageNetC(cells, path or None, args.corruption_seed or 0, order)
    if name in (*LAYOUTS, 'damagenet') and not path:
        source = DAmageNet.SOURCE if name == 'damagenet' else LAYOUTS[name].source
        raise UserError(
            f'{name} needs its images: write {name}=PATH with the folder that {source} has'
        )
    if name == 'damagenet':
        return DAmageNet(path)
    if name in LAYOUTS:
        return ImageNetSet(name, path)
    return class_folders(name, path, task, own)


def class_folders(name: str, path: str, task: str, known: tuple[str, ...]) -> ClassFolders:
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


def coco_c(cells: list, root: str | None, args: argparse.Namespace) -> OnTheFly | Tree:
    """Corrupted on the fly, or from a tree, whose seed and channel order are the tree's own."""
    if root is None:
        return OnTheFly(cells, args.corruption_seed or 0, args.channel_order or 'bgr')
    tree = Tree(cells, root)
    for name, asked in (('seed', args.corruption_seed), ('channel_order', args.channel_order)):
        built = tree.manifest[name]
        if asked not in (None, built):
            raise UserError(
                f'{root} was built with the {name.replace("_", " ")} {built}, but {asked} is asked '
                'for: leave that option out, or build another tree'
            )
    return tree


def attacked(name: str, args: argparse.Namespace) -> Attacked:
    """The test images under FGSM, PGD or DAT's attack."""
    if name == 'dat':
        tokenizer = load_tokenizer(args.tokenizer)
        attacks = {
            share: DiscreteAttack(tokenizer, controller=TokenChangeController(share))
            for share in args.token_change
        }
        facts = dict(tokenizer=str(args.tokenizer))
    elif name == 'fgsm':
        attacks = {
            eps: PixelAttack(args.norm, value(eps), value(eps), steps=1) for eps in args.eps
        }
        facts = dict(norm=args.norm)
    else:
        attacks = {
            eps: PixelAttack(
                args.norm, value(eps),
                alpha=value(args.alpha) if args.alpha else 2.5 * value(eps) / args.steps,
                steps=args.steps, random_start=1.0,
            )
            for eps in args.eps
        }
        facts = dict(norm=args.norm, alpha=args.alpha or '2.5 eps / steps', steps=args.steps)
    return Attacked(name, attacks, args.losses, args.corruption_seed or 0, facts)


def value(text: str) -> float:
    """Of a number that may be written as a fraction, such as 4/255."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise UserError(f'expected a number such as 0.5 or 4/255, found {text!r}') from None


if __name__ == '__main__':
    cli.run(main)
