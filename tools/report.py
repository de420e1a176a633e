"""Write one HTML page of what a run has: `python tools/report.py WORK_DIR`.

WORK_DIR is the work dir of a run, or a folder of runs: the --out of tools/compare.py, or
work_dirs/demo. The page, WORK_DIR/report.html, has tables and plots of robustness, training curves,
pictures of the attack and of test images (tools/test_robustness.py --show), analyses, and the
configs; what is not there is left out. It needs no other file and no network.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from projects.dat.evaluation.page import write_page  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='of a run, or a folder of runs')
    print(f'wrote {write_page(parser.parse_args().work_dir)}')


if __name__ == '__main__':
    cli.run(main)
