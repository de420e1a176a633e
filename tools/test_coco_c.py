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

It is tools/test_robustness.py with `--on coco_c`, whose other sets can be added to the same file.

Several GPUs: TOOL=test_coco_c.py tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments].
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from projects.dat.runtime import cli  # noqa: E402
from tools.test_robustness import add_corruption_arguments, evaluate_sets  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file that tools/train.py saved, or a URL')
    add_corruption_arguments(parser)
    parser.add_argument(
        '--coco-c', metavar='DIR', help='read the images from a tree of tools/build_coco_c.py'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file of the result (default: <work dir>/coco_c.json)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.on = [f'coco_c={args.coco_c}' if args.coco_c else 'coco_c']
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    evaluate_sets(cfg, args, args.out or osp.join(cfg.work_dir, 'coco_c.json'))


if __name__ == '__main__':
    cli.run(main)
