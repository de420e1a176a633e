"""Compare results: `python tools/compare_robustness.py PLAIN.json DAT.json ...`.

Prints tables of each method and of its differences from the first one; with --out it also writes
them as Markdown and CSV, and plots as pictures. The files are those that tools/test_coco_c.py
writes. Files of one name are runs of one method with several seeds, in the same order for every
method, and are averaged; differences are then taken seed by seed:

    python tools/compare_robustness.py plain0.json plain1.json dat0.json dat1.json \\
        --names plain plain dat dat
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.dat.evaluation.comparison import Comparison  # noqa: E402
from projects.dat.evaluation.report import terminal_text, write_report  # noqa: E402
from projects.dat.evaluation.results import Result  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'results', nargs='+', metavar='RESULT.json', help='the others are compared with the first'
    )
    parser.add_argument(
        '--names',
        nargs='+',
        metavar='NAME',
        help='the method of each file, in the order of the files (default: the file names)',
    )
    parser.add_argument('--out', metavar='DIR', help='write tables and plots into this folder')
    return parser.parse_args()


def names_of(args: argparse.Namespace) -> list[str]:
    """As given; otherwise the files' names, or their paths where these do not tell them apart."""
    names = args.names or [Path(file).stem for file in args.results]
    if not args.names and len(set(names)) < len(names):
        names = [str(Path(file).with_suffix('')) for file in args.results]
    if len(names) != len(args.results) or not all(name.strip() for name in names):
        raise UserError(
            f'expected {len(args.results)} names, one for each result, but got {len(names)}: '
            f'{", ".join(map(repr, names))}'
        )
    return names


def main() -> None:
    args = parse_args()
    names = names_of(args)
    methods = {}
    for name, file in zip(names, args.results, strict=True):
        methods.setdefault(name, []).append(Result.load(file))
    comparison = Comparison(methods)
    if args.out:
        print(write_report(comparison, args.out))
        print(f'\nwritten to {args.out}')
    else:
        print(terminal_text(comparison))


if __name__ == '__main__':
    cli.run(main)
