"""The whole way on data made on the spot: `make demo`, or `python tools/demo.py`.

Makes a small data set, trains an EfficientDet on it from ImageNet weights, trains on from there for
as many iterations plainly, with Det-AdvProp and with Discrete Adversarial Training, with several
seeds each, evaluates all on clean and on corrupted images, and says in a table and in words what
came out. In one folder it leaves the DAT checkpoint, curves, a picture of the attack, detections,
the whole comparison, and a page with all of it. A demo that was interrupted goes on where it
stopped.
"""

import argparse
import fcntl
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

from projects.dat.evaluation.comparison import Comparison, Spread  # noqa: E402
from projects.dat.evaluation.page import PAGE, write_page  # noqa: E402
from projects.dat.evaluation.results import CLEAN, Result  # noqa: E402
from projects.dat.evaluation.show import FOLDER  # noqa: E402
from projects.dat.evaluation.summaries import mean_of  # noqa: E402
from projects.dat.evaluation.tables import Table, to_terminal  # noqa: E402
from projects.dat.runtime import cli  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from tools.compare import RESULT  # noqa: E402
from tools.demo_pictures import draw_curves, draw_detections, read_losses  # noqa: E402
from tools.make_demo_data import DemoData, make_demo_data  # noqa: E402

CONFIG = ROOT / 'configs' / 'efficientdet_demo.py'
METHODS = {'plain': 'plain', 'det_advprop': 'Det-AdvProp', 'dat': 'DAT'}
SEEDS = (0, 1, 2)
# One corruption of each group: the whole benchmark takes 75 passes over the validation images.
CORRUPTIONS = {
    'gaussian_noise': 'noise', 'defocus_blur': 'blur', 'fog': 'fog', 'jpeg_compression': 'JPEG',
}
SEVERITY = 3
CELLS = [(name, SEVERITY) for name in CORRUPTIONS]
QUANTITIES = {
    'AP50 clean': lambda result: result.cells[CLEAN].metrics.get('coco/bbox_mAP_50', 0.0),
    'AP clean': mean_of([CLEAN]),
    **{f'AP {name}': mean_of([(key, SEVERITY)]) for key, name in CORRUPTIONS.items()},
    'AP corrupted': mean_of(CELLS),
}
EPOCH = 30  # iterations: the 240 images in batches of 8
WITHOUT_VALIDATION = 'train_cfg.val_begin=99'  # the comparison evaluates
PRETRAINING, TUNING = 6, 2  # epochs
OPTIONS = (
    WITHOUT_VALIDATION, f'train_cfg.max_epochs={TUNING}', 'optim_wrapper.optimizer.lr=0.001',
    # Half of every batch is attacked: all methods see as many images, at half the cost.
    'adversarial.assembly=replace', 'adversarial.share=0.5',
    'adversarial.log_interval=10', 'adversarial.picture_interval=20',
)
LIMITS = (
    'With 3 seeds, chance alone takes one difference in five beyond its spread; the seeds share\n'
    'data and the first training. This shows that everything works, not which method is better:\n'
    'the objects are drawn, the trainings short, and 4 of the 75 cells of COCO-C were tested.'
)
FILES = {
    'checkpoint.pth': 'the detector trained with DAT, for any MMDetection tool',
    'attack.png': 'what the attack does to training images',
    f'{FOLDER}/detections.png': 'what plain and DAT find, without and with noise',
    'curves.png': 'losses, changed tokens, and AP of all methods',
    'comparison/': 'all runs with their configs and logs; comparison.md has all tables and plots',
    PAGE: 'all of this on one page; open it in a browser',
}
INTERVAL = 30  # seconds between lines of progress

# glibc gives large blocks back to the system and asks for them again at every operator; keeping
# them makes a training step on the CPU up to one and a half times as fast.
ALLOCATOR = dict(MALLOC_MMAP_MAX_='0', MALLOC_TRIM_THRESHOLD_='8589934592')


def pretrain(out: Path) -> Path:
    """Train plainly from ImageNet weights, or go on with it; gives the checkpoint."""
    run = out / 'pretraining'
    checkpoint, last = run / 'checkpoint.pth', run / 'last_checkpoint'
    if not checkpoint.exists():
        arguments = [CONFIG, '--data-root', out / 'data', '--work-dir', run]
        arguments += ['--cfg-options', WITHOUT_VALIDATION, f'train_cfg.max_epochs={PRETRAINING}']
        arguments += ['--resume'] if last.exists() else []
        run_tool('train.py', arguments, out, lambda: _share_trained(run, PRETRAINING))
        with replacing(checkpoint) as temporary:
            shutil.copyfile(last.read_text(), temporary)
    return checkpoint.resolve()


def compare(out: Path, checkpoint: Path) -> Comparison:
    """Train on from a checkpoint with every method and seed, two at once; evaluate all."""
    folder = out / 'comparison'
    runs = [folder / method / f'seed{seed}' for seed in SEEDS for method in METHODS]
    arguments = [CONFIG, '--data-root', out / 'data', '--out', folder, '--jobs', '2']
    arguments += ['--method', *METHODS, '--seeds', *SEEDS]
    arguments += ['--cfg-options', f'load_from={checkpoint}', *OPTIONS]
    arguments += ['--corruptions', *CORRUPTIONS, '--severities', SEVERITY]
    run_tool('compare.py', arguments, out, lambda: sum(map(_share_done, runs)) / len(runs))
    return Comparison({
        name: [Result.load(folder / method / f'seed{seed}' / RESULT) for seed in SEEDS]
        for method, name in METHODS.items()
    })


def run_tool(name: str, arguments: list, out: Path, share_done: Callable[[], float]) -> None:
    """Run another tool, its output in a log, and say now and then how far it is.

    Raises:
        UserError: It failed, or one that an earlier start left behind is still at work.
    """
    log = out / f'{Path(name).stem}.log'
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools' / name, *arguments]
    # Whoever kills this process alone leaves the tool at work, and that holds the lock.
    with open(log, 'a') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f'an earlier tools/{name} is still at work in {out}: wait for it, or end it'
            ) from None
        stream.truncate(0)
        process = subprocess.Popen(
            list(map(str, command)), stdout=stream, stderr=stream,
            env={**os.environ, **ALLOCATOR})
        try:
            _report_progress(process, share_done)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise UserError(f'{log.read_text().strip().splitlines()[-1]} (the end of {log})')


def _report_progress(process: subprocess.Popen, share_done: Callable[[], float]) -> None:
    start, first = time.monotonic(), share_done()
    while process.poll() is None:
        try:
            process.wait(INTERVAL)
        except subprocess.TimeoutExpired:
            done, spent = share_done(), time.monotonic() - start
            if done > first + 0.05:  # before that, it is a guess
                minutes = spent * (1 - done) / (done - first) / 60
                print(f'      {done:4.0%} done, about {math.ceil(minutes)} min left', flush=True)


def _share_done(run: Path) -> float:
    """Of a run of the comparison, 0..1: training is two thirds of the work and evaluation one."""
    cells = 0
    if (run / RESULT).exists():
        cells = len(Result.load(run / RESULT).cells)
    trained = _share_trained(run, TUNING)
    return (2 * trained + cells / (1 + len(CELLS))) / 3


def _share_trained(run: Path, epochs: int) -> float:
    if (run / 'checkpoint.pth').exists():
        return 1.0
    return max((x['step'] for x in read_losses(run)), default=0) / (epochs * EPOCH)


def summarize(comparison: Comparison) -> str:
    """The table of all methods, and what it shows in words."""
    rows = [
        [name, *(_spread(comparison.absolute(name, x)) for x in QUANTITIES.values())]
        for name in comparison.methods
    ]
    title = (f'Box AP x 100, mean ± standard deviation over {comparison.seeds} seeds; corruptions '
             f'are of severity {SEVERITY}')
    lines = [to_terminal(Table(title, ['trained', *QUANTITIES], rows))]
    for name in comparison.others:
        groups = {'better': [], 'worse': [], 'no difference shown': []}
        for what, quantity in QUANTITIES.items():
            change = comparison.difference(name, quantity)
            word = 'better' if change.mean > 0 else 'worse'
            word = word if change.exceeds else 'no difference shown'
            groups[word].append(f'{what} ({_spread(change, "+")})')
        lines.append(f'{name} against {comparison.first}, difference and its spread over seeds:')
        lines += [f'  {word}: {", ".join(found)}' for word, found in groups.items() if found]
    lines.append('No difference is shown where the spread over seeds is as large.')
    return '\n'.join(lines)


def _spread(spread: Spread, sign: str = '') -> str:
    std = '' if spread.std is None else f' ± {100 * spread.std:.1f}'
    return f'{100 * spread.mean:{sign}.1f}{std}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='folder to fill')
    out = parser.parse_args().out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the runs are ended too
    print(f'[1/5] Data: {DemoData.train} images to train on, {DemoData.val} to test on', flush=True)
    make_demo_data(out / 'data')
    print(f'[2/5] Plain training from ImageNet weights, {PRETRAINING} epochs', flush=True)
    checkpoint = pretrain(out)
    print(f'[3/5] From there, {TUNING} epochs of each of {len(METHODS)} methods with each of '
          f'{len(SEEDS)} seeds, and a test of each on clean and corrupted images', flush=True)
    comparison = compare(out, checkpoint)

    print('[4/5] Pictures, and a page of everything', flush=True)
    folder = out / 'comparison'
    run = folder / 'dat' / f'seed{SEEDS[0]}'
    shutil.copyfile(run / 'checkpoint.pth', out / 'checkpoint.pth')
    pictures = run.glob('*/vis_data/vis_image/attack_*.png')
    last = max(pictures, key=lambda file: int(file.stem.split('_')[1]))
    shutil.copyfile(last, out / 'attack.png')
    runs = {name: folder / method / f'seed{SEEDS[0]}' for method, name in METHODS.items()}
    draw_curves(runs, comparison, QUANTITIES, out / 'curves.png')
    images = sorted((out / 'data' / 'val2017').iterdir())[:4]
    compared = {name: runs[name] / 'checkpoint.pth' for name in ('plain', 'DAT')}
    draw_detections(CONFIG, compared, images, SEVERITY, out / FOLDER / 'detections.png')
    write_page(out)

    print(f'[5/5] Results\n\n{summarize(comparison)}\n\n{LIMITS}\n')
    for name, what in FILES.items():
        print(f'  {out / name}: {what}')


if __name__ == '__main__':
    cli.run(main)
