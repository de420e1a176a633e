"""Build COCO-C or ImageNet-C, the corrupted images of your own set, or check a built tree.

    python tools/build_coco_c.py --images data/coco/val2017 \\
        --annotations data/coco/annotations/instances_val2017.json --out data/coco_c
    python tools/build_coco_c.py --images data/imagenette/val --out data/imagenette_c
    python tools/build_coco_c.py --out data/coco_c --verify

Without --annotations it takes all images of a folder of class folders and cuts each to 224 px
first, as the authors of ImageNet-C did. It writes OUT/<corruption>/<severity>/<file_name>, and
OUT/annotations.json, which names these files. Stop it as you like, by Ctrl-C or kill -9: the same
command goes on where it was. More corruptions and severities can be added to a tree later. Under
torchrun or srun each process makes its share of the images. The digests are sha256sum's: cd OUT &&
sha256sum -c --quiet digests/*.sha256

Exit status: 0 all is there; 1 images could not be read or files are wrong, which are listed; 2 the
command is wrong; 130 interrupted.
"""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

# Before numpy is imported: each worker is one thread.
os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV
import torch  # noqa: E402

from projects.dat.corruptions import (  # noqa: E402
    BENCHMARK, CHANNEL_ORDERS, CORRUPTIONS, SETS, SEVERITIES, expand
)
from projects.dat.corruptions.coco_c import tree  # noqa: E402
from projects.dat.corruptions.coco_c.builder import build  # noqa: E402
from projects.dat.corruptions.coco_c.shard import rank_and_world  # noqa: E402
from projects.dat.corruptions.coco_c.verifier import verify  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402

JPEG_QUALITY = 95


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--images', metavar='DIR', help='folder of the images')
    add('--annotations', metavar='FILE',
        help="annotation file in COCO's format (default: none, ImageNet-C of the folder)")
    add('--out', metavar='DIR', required=True, help='folder of the tree')
    add('--corruptions', nargs='+', metavar='NAME', choices=(*SETS, *CORRUPTIONS),
        help=f'{", ".join(SETS)} or single ones: {", ".join(CORRUPTIONS)} (default: benchmark)')
    add('--severities', nargs='+', type=int, metavar='N', choices=SEVERITIES,
        help='1 to 5 (default: all)')
    add('--seed', type=int, default=0, help='seed of all noise (default: 0)')
    add('--channel-order', choices=CHANNEL_ORDERS,
        help='how the corruptions get the channels (default: bgr with --annotations, as in '
        'published results of COCO-C; rgb without, as in ImageNet-C)')
    add('--format', choices=list(tree.ENDINGS), default='png',
        help='png keeps the exact pixels, jpeg saves space (default: png)')
    add('--quality', type=int, help=f'of jpeg, 1 to 100 (default: {JPEG_QUALITY})')
    add('--workers', type=int, help='processes (default: one for each CPU core of this rank)')
    add('--verify', action='store_true',
        help='build nothing: check the tree, by default all that was begun')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rank, world = rank_and_world()
    args.workers = _cores() if args.workers is None else args.workers
    if args.workers < 1 or args.seed < 0:
        raise UserError(
            f'--workers must be at least 1 and --seed at least 0, but got {args.workers} and '
            f'{args.seed}'
        )
    try:
        complete = _verify(args, rank) if args.verify else _build(args, rank, world)
    except KeyboardInterrupt:
        print('interrupted: start the same command again to go on', file=sys.stderr)
        sys.exit(130)
    if 'TORCHELASTIC_RUN_ID' in os.environ and not args.verify:
        # torchrun ends all ranks as soon as one fails: none shall before all are ready.
        torch.distributed.init_process_group('gloo', timeout=timedelta(days=30))
        torch.distributed.barrier()
    if not complete:
        sys.exit(1)


def _build(args: argparse.Namespace, rank: int, world: int) -> bool:
    if not args.images:
        raise UserError('a build needs --images: name the folder of the images')
    if args.quality is not None and (args.format != 'jpeg' or not 1 <= args.quality <= 100):
        raise UserError(
            f'--quality is 1 to 100 and for --format jpeg alone, but got {args.quality} for '
            f'{args.format}'
        )
    quality = (args.quality or JPEG_QUALITY) if args.format == 'jpeg' else None
    share = f' (rank {rank} of {world})' if world > 1 else ''
    cells = _cells(args.corruptions or ['benchmark'], args.severities or SEVERITIES)
    report = build(
        args.images, args.annotations, args.out, cells, seed=args.seed,
        channel_order=args.channel_order or ('bgr' if args.annotations else 'rgb'),
        image_format=args.format, quality=quality,
        workers=args.workers, rank=rank, world=world,
    )
    lines = [f'{report.cells} image-cells are in {args.out}{share}']
    if report.failures:
        lines.append(f'not built, at least in part: {len(report.failures)} images{share}')
        lines += [f'  {why}' for _, whys in sorted(report.failures.items()) for why in whys]
    print('\n'.join(lines), flush=True)
    return not report.failures


def _verify(args: argparse.Namespace, rank: int) -> bool:
    if rank:  # threads of one process keep a disk busy
        return True
    manifest = tree.read_manifest(args.out)
    if args.annotations:
        given = tree.read_source(args.annotations, manifest['format'])
        if given.sha256 != manifest['annotations_sha256']:
            raise UserError(
                f'{args.out} was built from another annotation file than {args.annotations}: '
                'name that one, or none'
            )
    cells = None
    if args.corruptions or args.severities:
        cells = _cells(args.corruptions or ['benchmark'], args.severities or SEVERITIES)
    report = verify(args.out, cells, workers=args.workers)
    for path, problem in report.problems.items():
        print(f'{problem}: {path}')
    benchmark = sum(name in BENCHMARK for name, _ in report.cells)
    result = f'{len(report.problems)} problems' if report.problems else 'all is right'
    print(
        f'{args.out}: {result}; {report.files} files of {len(report.cells)} corruption-severity '
        f'pairs checked, {benchmark} of the {len(BENCHMARK) * len(SEVERITIES)} of the benchmark'
    )
    return not report.problems


def _cells(names: list[str], severities: list[int]) -> list[tuple[str, int]]:
    return [(name, severity) for name in expand(names) for severity in sorted(set(severities))]


def _cores() -> int:
    """CPU cores for this process, where several ranks share a machine."""
    # macOS knows no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    cores = min(cores, int(os.environ.get('SLURM_CPUS_PER_TASK', cores)))
    return max(1, cores // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))


if __name__ == '__main__':
    cli.run(main)
