"""What tools/compare.py was called before it compared any methods."""

import sys

print(
    'error: expected tools/compare.py, which has taken the place of tools/compare_det_advprop.py '
    'and compares plain, det_advprop and dat by default: give it the same config, with --method '
    'det_advprop=FILE in place of --det-advprop FILE and --corruption-seed in place of --seed',
    file=sys.stderr,
)
sys.exit(2)
