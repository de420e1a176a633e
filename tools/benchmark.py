"""Measure what adversarial training costs: `python tools/benchmark.py`.

Prints a table of training steps of a detector or classifier, in plain steps, and writes it to --out
with all samples as JSON, anew after every round; tools/compare.py --costs takes that file.
'published' among the tokenizers is the published one's layout with random weights: the cost does
not depend on them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from tqdm import tqdm  # noqa: E402

from projects.dat.evaluation import benchmark  # noqa: E402
from projects.dat.evaluation.model_classes import is_classifier  # noqa: E402
from projects.dat.evaluation.tables import to_markdown, to_terminal  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from projects.dat.runtime.methods import methods_of  # noqa: E402

SEED = 0
STRIDE, CLASSIFIER_STRIDE = 128, 32  # of the coarsest maps


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    devices = ['cuda', 'cpu'] if torch.cuda.is_available() else ['cpu']
    add = parser.add_argument
    add('config', nargs='?', default=str(ROOT / 'configs/efficientdet_512.py'),
        help='of the plain model (default: configs/efficientdet_512.py)')
    add('--method', nargs='+', metavar='NAME[=FRAGMENT]',
        default=['dat', 'random_tokens', 'det_advprop'],
        help='methods and their config fragments; a name alone is one of configs/_base_/attacks '
        '(default: dat random_tokens det_advprop)')
    add('--tokenizers', nargs='+', metavar='NAME', default=['fast_f8_8192'])
    add('--precisions', nargs='+', choices=['fp32', 'bf16', 'fp16'], default=['fp32', 'bf16'])
    add('--recipe-tokenizer', metavar='NAME', default='published')
    add('--sizes', nargs='+', type=int, metavar='PIXELS', default=[256])
    add('--batches', nargs='+', type=int, metavar='N', default=[2])
    add('--rounds', type=int, default=3, help='samples of each step')
    add('--device', choices=devices, default=devices[0])
    add('--out', default='work_dirs/benchmark', metavar='DIR')
    return parser.parse_args()


def check(args: argparse.Namespace, stride: int) -> None:
    if args.device == 'cpu' and 'fp16' in args.precisions:
        raise UserError('--precisions fp16 needs a GPU: use bf16 on a CPU')
    if min(*args.batches, args.rounds) < 1:
        raise UserError('--batches and --rounds must be at least 1')
    odd = [size for size in args.sizes if size < 1 or size % stride]
    if odd:
        raise UserError(f'--sizes must be multiples of {stride}, but has {odd[0]}')
    if stride in args.sizes and 1 in args.batches:
        raise UserError(
            f'one image of {stride} px leaves batch norm a single value: use --batches 2 or more'
        )


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config)
    classifier = is_classifier(cfg)
    check(args, CLASSIFIER_STRIDE if classifier else STRIDE)
    device, out = torch.device(args.device), Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out {out} cannot be made ({error.strerror}): name another') from None
    # MMEngine tells of every parameter's initialization and optimizer settings.
    MMLogger.get_instance('benchmark', log_level='ERROR')
    with tempfile.TemporaryDirectory() as folder:
        files = {'published': f'{folder}/published.safetensors'}
        if 'published' in [*args.tokenizers, args.recipe_tokenizer]:
            benchmark.published_layout(files['published'])
        tokenizers = {name: files.get(name, name) for name in args.tokenizers}
        recipe = files.get(args.recipe_tokenizer, args.recipe_tokenizer)
        steps = benchmark.make_steps(
            cfg, methods_of(args.method), tokenizers, args.precisions, recipe, device, SEED
        )
    groups = [(size, batch) for size in args.sizes for batch in args.batches]
    machine = benchmark.describe(device)
    name = Path(args.config).stem
    title = f'Steps of {name}, {machine["device"]}, threads: {machine["threads"]}'
    rounds = benchmark.measure(steps, groups, args.rounds, device, SEED, classifier)
    for rows in tqdm(rounds, 'rounds', args.rounds + 1, leave=False, disable=None):
        table = benchmark.to_table(title, rows)
        benchmark.save(out / 'benchmark.json', rows, arguments=vars(args), machine=machine)
        with replacing(out / 'benchmark.md') as temporary:
            temporary.write_text(to_markdown(table))
    print(f'{to_terminal(table)}\nwritten to {out}')


if __name__ == '__main__':
    cli.run(main)
