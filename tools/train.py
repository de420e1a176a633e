"""Train a model: `python tools/train.py configs/dat_efficientdet_512.py`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.config import Config  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402

from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.training.runner import check_adversarial, check_model, check_resume  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size over all processes',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the latest one in the work dir',
    )
    parser.add_argument(
        '--new-head',
        action='store_true',
        help='train layers of the head anew that the checkpoint load_from does not have as they '
        'are here, such as those of other classes',
    )
    return parser.parse_args()


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                f'--auto-scale-lr needs the batch size that the learning rate of {args.config} '
                'was made for: add auto_scale_lr = dict(base_batch_size=...) to it'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.new_head and (args.resume or not cfg.get('load_from')):
        raise UserError(
            '--new-head is for a run that starts from the weights of another one: leave --resume '
            'out and name the weights with --cfg-options load_from=CHECKPOINT'
        )


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    apply_arguments(cfg, args)
    if 'adversarial' in cfg:
        check_adversarial(cfg, load=True)
    checkpoint = cli.check_once(cfg, 'train', args.new_head)
    if checkpoint and cfg.get('resume'):
        check_resume(cfg, checkpoint)
    if 'adversarial' in cfg:
        check_model(cfg)
    with writing_to(cfg.work_dir, resumable=True):
        RUNNERS.build(cfg).train()


if __name__ == '__main__':
    cli.run(main)
