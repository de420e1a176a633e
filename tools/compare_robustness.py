"""Compare robustness results: `python tools/compare_robustness.py PLAIN.json DAT.json ...`.

Prints tables of each run and of its differences from the first one; with --out it also writes them
as Markdown and CSV, and plots as pictures. The files are those that tools/test_coco_c.py writes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.dat.evaluation.comparison import (  # noqa: E402
    Comparison,
    check_comparable,
    check_names,
)
from projects.dat.evaluation.comparison_report import terminal_text, write_report  # noqa: E402
from projects.dat.evaluation.results import RobustnessResult  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULT.json',
        help='two or more; the others are compared with the first',
    )
    parser.add_argument(
        '--names',
        nargs='+',
        metavar='NAME',
        help='what the runs are called, in the order of the files (default: the file names)',
    )
    parser.add_argument('--out', metavar='DIR', help='write tables and plots into this folder')
    return parser.parse_args()


def default_names(files: list[str]) -> list[str]:
    """The files' names, or their paths where the names alone do not tell them apart."""
    names = [Path(file).stem for file in files]
    if len(set(names)) == len(names):
        return names
    return [str(Path(file).with_suffix('')) for file in files]


def main() -> None:
    args = parse_args()
    names = args.names or default_names(args.results)
    check_names(names, len(args.results))
    results = [RobustnessResult.load(file) for file in args.results]
    check_comparable(results, args.results)
    if args.out:
        print(write_report(results, names, args.out))
        print(f'\nwritten to {args.out}')
    else:
        print(terminal_text(Comparison(results, names)))


if __name__ == '__main__':
    cli.run(main)
