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
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.evaluation.identity import check_same, identity  # noqa: E402
from projects.dat.evaluation.images import OnTheFly, Tree  # noqa: E402
from projects.dat.evaluation.report import format_result  # noqa: E402
from projects.dat.evaluation.results import RobustnessResult  # noqa: E402
from projects.dat.evaluation.robustness import cells_of, evaluate  # noqa: E402
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


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which cells of COCO-C are evaluated and how."""
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
        '--seed', type=int, help='of the corruptions (default: 0; with --coco-c as it was built)'
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
    cells = cells_of(expand(args.corruptions), args.severities)
    cli.check_once(cfg, 'test')
    images = choose_images(args)
    images.check(cfg, cells)
    wanted = identity(cfg, args.checkpoint, images, args.metric)
    done = RobustnessResult.load(out) if osp.exists(out) else None
    if done:
        check_same(out, done, wanted)
    result = evaluate(cfg, images, cells, wanted, done, out)
    if is_main_process():
        print(f'\n{format_result(result)}\n\nwrote {out}')


def choose_images(args: argparse.Namespace) -> OnTheFly | Tree:
    """Corrupted on the fly, or from a tree, whose seed and channel order are the tree's own."""
    if args.seed is not None and args.seed < 0:
        raise UserError(f'--seed must be at least 0, but is {args.seed}')
    if args.coco_c is None:
        return OnTheFly(args.seed or 0, args.channel_order or 'bgr')
    tree = Tree(args.coco_c)
    for option, built in (('seed', tree.seed), ('channel_order', tree.channel_order)):
        asked = getattr(args, option)
        if asked not in (None, built):
            name = option.replace('_', '-')
            raise UserError(
                f'--{name} is {asked}, but {args.coco_c} was built with {built}: leave --{name} '
                'out, or build another tree'
            )
    return tree


if __name__ == '__main__':
    cli.run(main)
