"""Measure what adversarial training costs: `python tools/benchmark.py`.

Times, in turn and in one run, a plain training step, the tokenizers' parts, the attack and the
whole adversarial step, and the published recipe done plainly. Prints a table and writes it to --out
with all samples (benchmark.md, benchmark.json, two plots), anew after every round.

On a GPU the defaults make the full table. On a CPU they are a short one, about five minutes on two
cores; the full one is `--sizes 256 512 --batches 1 2 4 --rounds 5`, four hours, nearly all of them
for the published layout.
"""

import argparse
import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from torch import Tensor  # noqa: E402

from projects.dat.benchmark import tokenizers  # noqa: E402
from projects.dat.benchmark.cases import make_cases  # noqa: E402
from projects.dat.benchmark.data import load_images, make_images  # noqa: E402
from projects.dat.benchmark.detector import Detector, check_sizes  # noqa: E402
from projects.dat.benchmark.machine import describe  # noqa: E402
from projects.dat.benchmark.report import terminal_text, write_report  # noqa: E402
from projects.dat.benchmark.results import BenchmarkResult  # noqa: E402
from projects.dat.benchmark.timing import Case, Timer, run_rounds  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.tokenizer import Tokenizer  # noqa: E402
from projects.dat.tokenizer.fidelity import precision_changes  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402

SEED = 0
PRECISIONS = ('fp32', 'bf16', 'fp16')
PHOTOGRAPHS = 8  # that show what a precision changes
# Sizes, batches, rounds.
DEFAULTS = {'cpu': ([256], [1], 3), 'cuda': ([256, 512], [1, 4, 16], 10)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], help='default: cuda where there is one'
    )
    parser.add_argument(
        '--tokenizers',
        nargs='+',
        metavar='NAME',
        default=['fast_f8_8192', tokenizers.PUBLISHED_LAYOUT],
        help='names or files of tokenizers; "published" is the layout of the published one, with '
        'random weights where its file is not in the cache (default: fast_f8_8192 published)',
    )
    parser.add_argument(
        '--precisions',
        nargs='+',
        metavar='NAME',
        default=['fp32', 'bf16'],
        help='of the tokenizers: fp32, bf16, fp16, or ENCODE/DECODE apart as in fp32/bf16; with '
        '+compile behind it, as in bf16+compile, compiled (default: fp32 bf16)',
    )
    parser.add_argument(
        '--sizes', nargs='+', type=int, metavar='PIXELS', help='default: 256, on a GPU 256 512'
    )
    parser.add_argument(
        '--batches', nargs='+', type=int, metavar='N', help='default: 1, on a GPU 1 4 16'
    )
    parser.add_argument(
        '--rounds', type=int, metavar='N', help='after one to warm up; default: 3, on a GPU 10'
    )
    parser.add_argument(
        '--detector',
        metavar='CONFIG',
        default=str(ROOT / 'configs/efficientdet_512.py'),
        help='of a box detector; its weights are random (default: configs/efficientdet_512.py)',
    )
    parser.add_argument(
        '--recipe-tokenizer',
        metavar='NAME',
        default=tokenizers.PUBLISHED_LAYOUT,
        help='tokenizer of the published recipe (default: published)',
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='folder of photographs, of which center crops are used; they also show what a '
        'precision changes (default: images are made up)',
    )
    parser.add_argument('--out', default='work_dirs/benchmark', metavar='DIR')
    args = parser.parse_args()
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    sizes, batches, rounds = DEFAULTS[args.device]
    args.tokenizers, args.precisions = map(unique, (args.tokenizers, args.precisions))
    args.sizes = sorted(set(args.sizes or sizes))
    args.batches = sorted(set(args.batches or batches))
    args.rounds = rounds if args.rounds is None else args.rounds
    return args


def unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def check_args(args: argparse.Namespace) -> None:
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda needs a GPU that torch can use, and found none: use cpu')
    for precision in args.precisions:
        names = precision.removesuffix('+compile').split('/', 1)
        if not {*names} <= {*PRECISIONS}:
            raise UserError(
                f'--precisions must be of {", ".join(PRECISIONS)}, or two of them as '
                f'ENCODE/DECODE, but has {precision!r}'
            )
        if 'fp16' in names and args.device == 'cpu':
            raise UserError('--precisions fp16 needs --device cuda: use bf16 on a CPU')
    for name, values in (('batches', args.batches), ('rounds', [args.rounds])):
        if min(values) < 1:
            raise UserError(f'--{name} must be at least 1, but has {min(values)}')


def make_folder(out: str) -> None:
    """Before hours of measurements, not after them."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out {out} cannot be made ({error.strerror}): name another') from None


def duration(seconds: float) -> str:
    return f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:.0f} min'


def get_images(args: argparse.Namespace) -> list[Tensor]:
    """The largest batch of each size."""
    count = max(args.batches)
    if args.images:
        return [load_images(args.images, count, size) for size in args.sizes]
    return [make_images(count, size, SEED) for size in args.sizes]


def load_rows(args: argparse.Namespace, device: torch.device) -> dict[str, Tokenizer]:
    """The tokenizers in all precisions, by row of the table."""
    shorts = tokenizers.short_names(args.tokenizers)
    return {
        f'{short} {precision}': tokenizers.load(name, precision, SEED).to(device)
        for name, short in zip(args.tokenizers, shorts, strict=True)
        for precision in args.precisions
    }


def find_changes(args: argparse.Namespace, rows: dict[str, Tokenizer]) -> list[dict]:
    """What precisions other than fp32 change on photographs; of random weights it says nothing."""
    if not args.images:
        return []
    size = args.sizes[0]
    images = load_images(args.images, PHOTOGRAPHS, size).flip(1).to(args.device) / 255
    names = itertools.product(args.tokenizers, args.precisions)
    return [
        dict(
            row=row,
            size=size,
            images=PHOTOGRAPHS,
            **precision_changes(tokenizer, images, tokenizer.precision),
        )
        for (name, _), (row, tokenizer) in zip(names, rows.items(), strict=True)
        if set(tokenizer.precision.values()) != {'fp32'} and not tokenizers.is_random(name)
    ]


def build_cases(
    args: argparse.Namespace, cfg: Config, images: list[Tensor], rows: dict[str, Tokenizer]
) -> list[Case]:
    device = torch.device(args.device)
    recipe_network = tokenizers.load_network(args.recipe_tokenizer, SEED).to(device)
    detector = Detector(cfg, device, SEED)
    return [
        case
        for of_size in images
        for batch in args.batches
        for case in make_cases(detector, rows, recipe_network, of_size[:batch], SEED)
    ]


def main() -> None:
    args = parse_args()
    check_args(args)
    cfg = cli.read_config(args.detector)
    check_sizes(cfg, args.sizes, args.batches)
    # MMEngine tells of every parameter's initialization and optimizer settings.
    MMLogger.get_instance('benchmark', log_level='ERROR')
    torch.backends.cudnn.benchmark = cfg.get('env_cfg', {}).get('cudnn_benchmark', False)
    images = get_images(args)
    device = torch.device(args.device)
    rows = load_rows(args, device)
    cases = build_cases(args, cfg, images, rows)
    make_folder(args.out)

    timer = Timer(device)
    machine = dict(describe(device), clock=timer.clock)
    result = BenchmarkResult(sys.argv, args.detector, args.device, SEED, machine)
    result.measurements = [case.measurement for case in cases]
    result.precision_changes = find_changes(args, rows)
    if any(map(tokenizers.is_random, [*args.tokenizers, args.recipe_tokenizer])):
        result.notes.append('published: random weights, because the file is not in the cache.')

    def report(done: int, left: float) -> None:
        if done:
            write_report(result, args.out)
        print(f'round {done} of {args.rounds}, {duration(left)} left', flush=True)

    print(f'{len(cases)} cases on {machine["device"]}, warming up', flush=True)
    run_rounds(cases, args.rounds, timer, report)
    print(f'\n{terminal_text(result)}\nwritten to {args.out}')


if __name__ == '__main__':
    cli.run(main)
