"""Evaluate robustness: `python tools/test_robustness.py CONFIG CHECKPOINT --on SET...`.

A SET is a word, or WORD=PATH where it needs files, or the path of a folder of class folders:

    any model        fgsm, pgd, dat, dat_flip         the test images under attack
                     random_tokens, reconstruction    and the controls for dat
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
import os.path as osp
import sys
from collections.abc import Collection
from dataclasses import fields
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.config import Config  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402

from projects.dat.corruptions import CHANNEL_ORDERS, CORRUPTIONS, SETS, SEVERITIES  # noqa: E402
from projects.dat.evaluation.comparison import Comparison  # noqa: E402
from projects.dat.evaluation.evaluate import evaluate, identify  # noqa: E402
from projects.dat.evaluation.report import terminal_text  # noqa: E402
from projects.dat.evaluation.results import CLEAN, Cell  # noqa: E402
from projects.dat.evaluation.show import FOLDER, draw_examples  # noqa: E402
from projects.dat.evaluation.test_images import images_sha256  # noqa: E402
from projects.dat.evaluation.test_sets import (  # noqa: E402
    Options, choose_sets, default_metric, trials_of, with_own_images,
)
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.tokenizer import DEFAULT_TOKENIZER  # noqa: E402


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
    attacks = parser.add_argument_group('attacks')
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
        help='shares of the tokens that dat, dat_flip and random_tokens change (default: 0.038)',
    )
    attacks.add_argument(
        '--tokenizer', default=DEFAULT_TOKENIZER, metavar='NAME_OR_FILE',
        help='of these and of reconstruction (default: %(default)s)',
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
    parser.add_argument(
        '--show', type=int, default=0, metavar='N',
        help='draw the first N test images, as they are and as each corruption or attack changes '
        'them, with what the model finds, into <work dir>/pictures (default: 0)',
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


def options_of(args: argparse.Namespace) -> Options:
    """What the sets are asked for; a tool need not have all arguments."""
    names = [field.name for field in fields(Options)]
    return Options(**{name: getattr(args, name) for name in names if hasattr(args, name)})


def check_show(count: int, cells: Collection[Cell]) -> None:
    """Check that as many images of these cells can be shown."""
    if count < 0 or (count and CLEAN not in cells):
        raise UserError(
            "expected --show to be a number of images of a set that is made from the config's test "
            f'images, such as corruptions or attacks, but found --show {count} for '
            f'{", ".join(dict.fromkeys(name for name, _ in cells))}'
        )


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    evaluate_sets(cfg, args, args.out or osp.join(cfg.work_dir, 'robustness.json'))


def evaluate_sets(cfg: Config, args: argparse.Namespace, out: str) -> None:
    """Evaluate the sets that the arguments ask for, and print the tables."""
    if not cfg.get('test_dataloader'):
        raise UserError(f'expected a test_dataloader in {args.config}, found none: add one')
    chosen = choose_sets(cfg, args.on, options_of(args))  # first: it looks into their folders
    cli.check_once(with_own_images(cfg, chosen), 'test')
    trials = trials_of(cfg, chosen)
    data = {name: facts for found in chosen for name, facts in found.data(cfg).items()}
    if CLEAN in trials:
        data[CLEAN[0]] = dict(images_sha256=images_sha256(cfg))
    identity = identify(cfg, data, args.metric or default_metric(cfg))
    check_show(args.show, trials)
    show, pictures = None, Path(cfg.work_dir, FOLDER)
    if args.show:
        show = partial(draw_examples, trials=trials, count=args.show, folder=pictures)
    with writing_to(cfg.work_dir):
        result = evaluate(cfg, trials, identity, out, show)
    if is_main_process():
        print(f'\n{terminal_text(Comparison({Path(args.checkpoint).name: [result]}))}\nwrote {out}')
        if show:
            print(f'and pictures of test images in {pictures}')


if __name__ == '__main__':
    cli.run(main)
