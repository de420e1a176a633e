"""Compare methods of training: `python tools/compare.py CONFIG --method plain dat --seeds 0 1 2`.

Trains one detector or classifier with every method and seed: for a seed from the same initial
weights, on the same data in the same order with the same augmentations, on the same schedule.
Evaluates each run on clean and on corrupted images, or on what --on says; writes tables and plots
with means over the seeds, and differences from the first method that are taken seed by seed.
Finished stages are kept: a comparison that was interrupted goes on where it stopped. The run of a
method and a seed lies in OUT/METHOD/seedN.

A self-supervised model is compared by classifiers on its frozen backbone, which --probe names; each
is trained for every run and has a report of its own in OUT/PROBE.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from mmengine.config import Config  # noqa: E402

from projects.dat.evaluation.benchmark import load_costs  # noqa: E402
from projects.dat.evaluation.comparison import Comparison  # noqa: E402
from projects.dat.evaluation.report import write_report  # noqa: E402
from projects.dat.evaluation.results import Cell, Result  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from projects.dat.runtime.methods import PLAIN, methods_of  # noqa: E402
from tools.compare_configs import (  # noqa: E402
    BACKBONE, CHECKPOINT, check_evaluated, check_probe, check_run, initial_weights, make_config,
    make_probe_config, write_config, write_initial_weights,
)
from tools.test_robustness import add_evaluation_arguments, evaluation_options  # noqa: E402

RESULT = 'robustness.json'
# For runs side by side on a CPU. glibc would hand every feature map back to the system and ask for
# it again, which takes 40 % of the time of training EfficientNet-Lite0.
ONE_THREAD = dict(
    OMP_NUM_THREADS='1', MALLOC_MMAP_THRESHOLD_=str(2**32), MALLOC_TRIM_THRESHOLD_=str(2**33),
)


def parse_args() -> argparse.Namespace:
    # Without abbreviations: --seed would be taken for --seeds.
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        'config', nargs='?', default=str(ROOT / 'configs' / 'efficientdet_512.py'),
        help='config of the plain model (default: configs/efficientdet_512.py)',
    )
    parser.add_argument(
        '--method', nargs='+', action='extend', metavar='NAME[=FRAGMENT]',
        help='methods and the config fragments that they add; a name alone is one of '
        'configs/_base_/attacks, or plain, which adds nothing (default: plain det_advprop dat)',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N',
        help='of the trainings (default: 0)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/compare'),
        help='folder for runs, results, tables and plots (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root', metavar='PATH', help='where the data is: sets data_root of every data set'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=cli.Options, metavar='KEY=VALUE',
        help='change entries of all configs, adversarial.* and adversarial.tokenizer.* of those '
        'that have it',
    )
    parser.add_argument(
        '--probe', nargs='+', type=Path, default=[], metavar='CONFIG',
        help='of a self-supervised model: configs of classifiers on its backbone, such as '
        'configs/selfsup/linear_probe_small.py',
    )
    parser.add_argument(
        '--start-from', type=Path, metavar='RUNS',
        help='folder of a method in an earlier comparison: each run starts from the checkpoint of '
        "its run with the same seed (default: the config's load_from, or initial weights)",
    )
    parser.add_argument(
        '--gpus', type=int, default=1,
        help='processes a run has, but for the training of a probe (default: 1)',
    )
    parser.add_argument(
        '--jobs', type=int, default=1,
        help='runs at once, each one thread on a CPU; with more than one, each writes to a log '
        'file beside its folder (default: 1)',
    )
    parser.add_argument(
        '--costs', metavar='benchmark.json',
        help='what tools/benchmark.py measured of these methods: adds training times in that of '
        'plain training, and a plot against them',
    )
    add_evaluation_arguments(parser, seed='--corruption-seed')
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise UserError(f'expected --seeds that differ, from 0 on, but got {args.seeds}')
    for seed in args.seeds if args.start_from else ():
        if not (args.start_from / f'seed{seed}' / CHECKPOINT).is_file():
            raise UserError(
                f'expected --start-from to have a finished run of each seed, but {args.start_from}/'
                f'seed{seed}/checkpoint.pth does not exist: finish that comparison first, or give '
                'the folder of one of its methods'
            )
    names = [probe.stem for probe in args.probe]
    if len(set(names)) < len(names):
        raise UserError(
            f'expected --probe to name configs whose files are called differently, but got {names}'
        )
    if min(args.jobs, args.gpus) < 1:
        raise UserError(f'--jobs and --gpus must be at least 1, but are {args.jobs}, {args.gpus}')


class Runs:
    """The runs of a comparison, as processes of other tools; the first that fails ends all."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.processes = set()
        self.ended = False

    def finish(self, run: Path, title: str) -> None:
        """Train and evaluate, or go on with it, in a folder beside its config."""
        print(f'{title}: {run}', flush=True)
        start = time.monotonic()
        self._train(run, self.args.gpus)
        probes = [run / probe.stem for probe in self.args.probe]
        if probes and not (run / BACKBONE).exists():
            self._tool('extract_backbone.py', run, 1, run / CHECKPOINT, run / BACKBONE)
        for probe in probes:
            self._train(probe, 1)  # soon done, and one process alone can fill k-NN's bank
        for evaluated in probes or [run]:
            options = ['--work-dir', evaluated / 'evaluation', '--out', evaluated / RESULT]
            options += evaluation_options(self.args)
            if probes:  # all weights come from the probe's training
                options += ['--cfg-options', 'model.backbone.init_cfg=None']
            options = [evaluated / CHECKPOINT, *options]
            self._tool('test_robustness.py', evaluated, self.args.gpus, *options)
        if self.args.jobs > 1:
            minutes, seconds = divmod(round(time.monotonic() - start), 60)
            print(f'{title}: done in {minutes}:{seconds:02}', flush=True)

    def _train(self, run: Path, processes: int) -> None:
        checkpoint, last = run / CHECKPOINT, run / 'last_checkpoint'
        if not checkpoint.exists():
            self._tool('train.py', run, processes, *(['--resume'] if last.exists() else []))
            with replacing(checkpoint) as temporary:
                shutil.copyfile(last.read_text(), temporary)

    def _tool(self, name: str, run: Path, processes: int, *arguments: str | Path) -> None:
        """Run a tool on a run's config; when it fails it has said why, its status becomes ours."""
        command, launcher = [sys.executable, '-W', 'ignore'], []
        if processes > 1:
            command += ['-m', 'torch.distributed.run', '--standalone']
            command += [f'--nproc_per_node={processes}']
            launcher = ['--launcher', 'pytorch']
        command += map(str, [ROOT / 'tools' / name, run.with_suffix('.py'), *arguments, *launcher])
        several, log = self.args.jobs > 1, run.with_suffix('.log')
        env = {**ONE_THREAD, **os.environ} if several else None
        with open(log, 'a') if several else nullcontext() as stream:
            if self.ended:
                sys.exit(1)
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=env)
            self.processes.add(process)
            status = process.wait()
        if status:
            if several and not self.ended:
                print(f'{log.read_text().splitlines()[-1]}\n(the end of {log})', file=sys.stderr)
            self.end()
            sys.exit(status)

    def end(self) -> None:
        """End all processes; no further one starts."""
        self.ended = True
        for process in list(self.processes):
            process.terminate()


def training_times(configs: dict[str, Config], args: argparse.Namespace) -> dict[str, float]:
    """By method, in the time of plain training; what was not measured is left out."""
    if args.costs is None:
        return {}
    steps = {PLAIN: 1.0} | load_costs(args.costs)
    plain = make_config(None, args.out, args.seeds[0], args)
    return {
        method: steps[step] * _length(cfg) / _length(plain)
        for method, cfg in configs.items()
        for step in [method if 'adversarial' in cfg else PLAIN] if step in steps
    }


def _length(cfg: Config) -> int:
    """Of training, in epochs or iterations."""
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters


def load(run: Path, cells: list[Cell]) -> Result:
    """A run's result without the cells that only an earlier start was asked for."""
    result = Result.load(run / RESULT)
    return Result(result.identity, {cell: result.cells[cell] for cell in cells})


def main() -> None:
    args = parse_args()
    check_arguments(args)
    methods = methods_of(args.method or (PLAIN, 'det_advprop', 'dat'))
    folders = {
        (method, seed): args.out / method / f'seed{seed}' for seed in args.seeds
        for method in methods
    }
    configs = {
        key: make_config(methods[key[0]], run, key[1], args) for key, run in folders.items()
    }
    firsts = {method: configs[method, args.seeds[0]] for method in methods}
    times = training_times(firsts, args)
    probes = {
        run / probe.stem: make_probe_config(probe, run, seed, args)
        for (_, seed), run in folders.items() for probe in args.probe
    }
    classifiers = list(probes.values())[: len(args.probe)]
    for cfg in classifiers or firsts.values():
        cells = check_evaluated(cfg, args)
    for cfg in classifiers:
        check_probe(cfg, next(iter(firsts.values())), args)
    for cfg in firsts.values():
        check_run(cfg, args)
    for run, cfg in (*zip(folders.values(), configs.values(), strict=True), *probes.items()):
        write_config(cfg, run.with_suffix('.py'))
    for seed in args.seeds:
        file = initial_weights(seed, args)
        cfg = configs[next(iter(methods)), seed]
        if cfg.load_from == str(file) and not file.exists():
            write_initial_weights(cfg, file)

    runs = Runs(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the runs are ended too
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            titles = [f'[{i}/{len(folders)}] {m}, seed {s}' for i, (m, s) in enumerate(folders, 1)]
            for _ in pool.map(runs.finish, folders.values(), titles):
                pass
        except BaseException:
            runs.end()
            raise
    for part in [probe.stem for probe in args.probe] or ['']:
        results = {
            method: [load(folders[method, seed] / part, cells) for seed in args.seeds]
            for method in methods
        }
        out = args.out / part
        print(f'\n{write_report(Comparison(results, times), out)}')
        print(f'\nwrote {out}/comparison.md, its .csv files and plots')
    print(f'all on one page: python tools/report.py {args.out}')


if __name__ == '__main__':
    cli.run(main)
