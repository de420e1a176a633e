"""Time our corruptions against imagecorruptions 1.1.2, in turn, in one run, on one core.

`python tools/benchmark_corruptions.py IMAGE` prints, for each corruption, the processor time of its
five severities by the package and by us, and whether the images are the same bits.
"""

import argparse
import functools
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median

# Before numpy is imported: a worker of a loader has one thread.
os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

import projects.dat.register  # noqa: E402, F401  # completes MMCV
from projects.dat.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES, corrupt  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.images import read_image  # noqa: E402


def load_package():
    """The package, made to run with a scikit-image that has renamed an argument."""
    warnings.simplefilter('ignore')
    import imagecorruptions
    from imagecorruptions import corruptions

    gaussian = corruptions.gaussian

    @functools.wraps(gaussian)
    def renamed(image, *args, multichannel=False, **kwargs):
        return gaussian(image, *args, channel_axis=-1 if multichannel else None, **kwargs)

    corruptions.gaussian = renamed

    def run(image, name, severity, seed):
        np.random.seed(seed)
        return imagecorruptions.corrupt(image, corruption_name=name, severity=severity)

    return run


def clock(call) -> tuple[float, np.ndarray]:
    """Processor seconds of a call, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(package, image: np.ndarray, name: str, repeats: int) -> tuple[float, float, bool]:
    """Seconds of the package and of ours for all severities, medians, and whether they agree."""
    theirs, ours, same = 0.0, 0.0, True
    for severity in SEVERITIES:
        # Ours is the quicker one: the package's glass_blur takes 10 s.
        pairs = [
            [clock(lambda f=f, s=severity: f(image, name, s, 0)) for f in (package, corrupt)]
            for _ in range(1 if name == 'glass_blur' else repeats)
        ]
        theirs += median(pair[0][0] for pair in pairs)
        ours += median(pair[1][0] for pair in pairs)
        same = same and np.array_equal(pairs[0][0][1], pairs[0][1][1])
    return theirs, ours, same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image', help='an image file, such as one of COCO')
    parser.add_argument('--corruptions', nargs='+', default=CORRUPTIONS, choices=CORRUPTIONS)
    parser.add_argument('--repeats', type=int, default=3, help='of all but glass_blur (default: 3)')
    args = parser.parse_args()
    if args.repeats < 1:
        raise UserError(f'--repeats must be at least 1, but is {args.repeats}')
    image = read_image(args.image)[..., ::-1].copy()
    cv2.setNumThreads(0)
    package = load_package()
    corrupt(image, 'glass_blur', 1, 0)  # first calls import and read what later ones have
    print(f'{image.shape[1]} x {image.shape[0]} pixels, 5 severities, seconds of one core')
    print(f'{"":<18}{"package":>9}{"ours":>9}{"ratio":>9}  same bits')
    totals = np.zeros(2)
    for name in args.corruptions:
        theirs, ours, same = measure(package, image, name, args.repeats)
        print(f'{name:<18}{theirs:>9.3f}{ours:>9.3f}{theirs / ours:>8.1f}x  {same}', flush=True)
        if name in BENCHMARK:
            totals += theirs, ours
    print(f'{"the 15 x 5":<18}{totals[0]:>9.3f}{totals[1]:>9.3f}{totals[0] / totals[1]:>8.1f}x')


if __name__ == '__main__':
    cli.run(main)
