"""Evaluate a checkpoint on COCO-C: `python tools/test_coco_c.py CONFIG CHECKPOINT`.

The 15 corruptions of the robust detection benchmark (arXiv:1907.07484) at 5 severities give mPC,
the mean over these 75 cells, and rPC = mPC / P, P being the metric on the clean images, which are
always evaluated first. Anything less is called partial and gives no mPC. The result is written
after every cell: the same command goes on where it was cut off, and further --corruptions or
--severities add to the file.

Images are corrupted in the loader's workers, from --seed and the image's id alone, or read from a
tree that tools/build_coco_c.py built (--coco-c). With a tree of png files the figures are the same
to the last digit.

Two conventions of channels: MMDetection hands the BGR array that its loader gives to
imagecorruptions, which expects RGB, and every figure that MMDetection and the robust detection
benchmark have published contains that. --channel-order bgr, the default, keeps it, so that figures
compare; rgb corrupts the image as it looks. What frost, snow, spatter and jpeg_compression do
depends on it. The four noises draw other numbers of the same law, brightness and saturate hardly
differ, and the others (all blurs, fog, contrast, elastic_transform, pixelate) do not at all.

Several GPUs: TOOL=test_coco_c.py tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments].
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.dist import is_main_process  # noqa: E402

from projects.dat.corruptions import (  # noqa: E402
    CHANNEL_ORDERS, CORRUPTIONS, SETS, SEVERITIES, expand,
)
from projects.dat.evaluation.coco_c import CocoC, OnTheFly, Tree, cells_of  # noqa: E402
from projects.dat.evaluation.comparison import Comparison  # noqa: E402
from projects.dat.evaluation.evaluate import evaluate, identify  # noqa: E402
from projects.dat.evaluation.report import terminal_text  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file that tools/train.py saved, or a URL')
    add_evaluation_arguments(parser)
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file of the result (default: <work dir>/coco_c.json)'
    )
    return parser.parse_args()


def add_evaluation_arguments(parser: argparse.ArgumentParser, seed: str = '--seed') -> None:
    """Add what says which cells of COCO-C are evaluated and how; ``seed`` is that option's name."""
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
        '--coco-c', metavar='DIR', help='read the images from a tree of tools/build_coco_c.py'
    )
    parser.add_argument(
        '--channel-order', choices=CHANNEL_ORDERS,
        help='what the corruptions get: bgr, as in published figures, or rgb (default: bgr; with '
        '--coco-c as it was built)',
    )
    parser.add_argument(
        seed, type=int, dest='seed', metavar='SEED',
        help='of the corruptions (default: 0; with --coco-c as it was built)',
    )
    parser.add_argument(
        '--metric', default='coco/bbox_mAP', metavar='NAME',
        help='what P, mPC and rPC are of, as the evaluator calls it (default: %(default)s)',
    )


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    out = args.out or osp.join(cfg.work_dir, 'coco_c.json')
    cli.check_once(cfg, 'test')
    images = choose_images(args)
    loaders = images.loaders(cfg, cells_of(expand(args.corruptions), args.severities))
    with writing_to(cfg.work_dir):
        result = evaluate(cfg, loaders, identify(cfg, images.data(cfg), args.metric), out)
    if is_main_process():
        print(f'\n{terminal_text(Comparison({Path(args.checkpoint).name: [result]}))}\nwrote {out}')


def choose_images(args: argparse.Namespace) -> CocoC:
    """Corrupted on the fly, or from a tree, whose seed and channel order are the tree's own."""
    if args.seed is not None and args.seed < 0:
        raise UserError(f'the seed of the corruptions must be at least 0, but is {args.seed}')
    if args.coco_c is None:
        return OnTheFly(args.seed or 0, args.channel_order or 'bgr')
    tree = Tree(args.coco_c)
    for name in ('seed', 'channel_order'):
        asked, built = getattr(args, name), tree.manifest[name]
        if asked not in (None, built):
            raise UserError(
                f'{args.coco_c} was built with the {name.replace("_", " ")} {built}, but {asked} '
                'is asked for: leave that option out, or build another tree'
            )
    return tree


if __name__ == '__main__':
    cli.run(main)
