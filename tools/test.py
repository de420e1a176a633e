"""Evaluate a checkpoint: `python tools/test.py CONFIG CHECKPOINT`."""

import argparse
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmdet.evaluation import DumpDetResults  # noqa: E402
from mmengine.evaluator import DumpResults  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmpretrain.engine import VisualizationHook  # noqa: E402

from projects.dat.evaluation.model_classes import is_classifier  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file that tools/train.py saved, or a URL')
    parser.add_argument('--out', metavar='FILE', help='write the predictions to a .pkl file')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='draw predictions beside ground truth; below the work dir'
    )
    return parser.parse_args()


def draw_classes(runner: Runner, folder: str) -> None:
    """Let a classifier's images be drawn where MMDetection draws a detector's."""
    place = osp.join(runner.log_dir, folder)
    runner.register_hook(VisualizationHook(enable=True, interval=1, out_dir=place))


def main() -> None:
    args = parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out writes a pickle, but got {args.out}: name a .pkl file')
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    classifies = is_classifier(cfg)
    if args.show_dir and not classifies:
        hook = dict(type='DetVisualizationHook', draw=True, test_out_dir=args.show_dir)
        cfg.merge_from_dict({'default_hooks.visualization': hook})
    cli.check_once(cfg, 'test')
    with writing_to(cfg.work_dir):
        runner = RUNNERS.build(cfg)
        if args.show_dir and classifies:
            draw_classes(runner, args.show_dir)
        if args.out:
            dump = DumpResults if classifies else DumpDetResults
            runner.test_evaluator.metrics.append(dump(out_file_path=args.out))
        runner.test()


if __name__ == '__main__':
    cli.run(main)
