"""Plain training, Det-AdvProp and DAT side by side: `python tools/compare_det_advprop.py`.

Trains one detector three times, from the same initial weights, on the same data in the same order
with the same augmentations, on the same schedule; evaluates each on clean and on corrupted images;
writes tables and plots. Finished stages are kept: a comparison that was interrupted goes on where
it stopped.
"""

import argparse
import copy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.dat.register  # noqa: E402, F401, I001  # before MMDetection: it completes MMCV

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import HOOKS, MODELS, init_default_scope  # noqa: E402
from mmengine.runner import set_random_seed  # noqa: E402

from projects.dat.corruptions import expand  # noqa: E402
from projects.dat.runtime.errors import UserError  # noqa: E402
from projects.dat.evaluation.comparison_report import write_report  # noqa: E402
from projects.dat.evaluation.results import RobustnessResult  # noqa: E402
from projects.dat.evaluation.robustness import cells_of  # noqa: E402
from projects.dat.runtime.files import replacing  # noqa: E402
from projects.dat.training import apply_adversarial, cli  # noqa: E402
from projects.dat.runtime.config import set_data_root  # noqa: E402
from tools.test_coco_c import add_evaluation_arguments, choose_images  # noqa: E402

FRAGMENTS = ROOT / 'configs' / '_base_' / 'attacks'
METHODS = ('plain', 'det_advprop', 'dat')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        nargs='?',
        default=str(ROOT / 'configs' / 'efficientdet_512.py'),
        help='config of the plain detector (default: configs/efficientdet_512.py)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/compare_det_advprop'),
        help='folder for runs, results, tables and plots (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root', metavar='PATH', help='where the data is: sets data_root of every data set'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=cli.Options,
        metavar='KEY=VALUE',
        help='change entries of all three configs, adversarial.* of the two that have it',
    )
    for method in METHODS[1:]:
        parser.add_argument(
            f'--{method.replace("_", "-")}',
            metavar='FILE',
            default=str(FRAGMENTS / f'{method}.py'),
            help='fragment of this method; inherit the default to change its options alone '
            f'(default: configs/_base_/attacks/{method}.py)',
        )
    parser.add_argument('--gpus', type=int, default=1, help='processes a run has (default: 1)')
    add_evaluation_arguments(parser)
    return parser.parse_args()


def initial_weights(args: argparse.Namespace) -> Path:
    """Where the weights are that all runs start from, unless the config names some."""
    return (args.out / 'initial.pth').resolve()


def chosen_cells(args: argparse.Namespace) -> list[tuple[str | None, int]]:
    """The clean images and each corruption at each severity."""
    return cells_of(expand(args.corruptions), args.severities)


def make_config(method: str, args: argparse.Namespace) -> Config:
    """The plain config with the method's fragment and all that makes the runs comparable."""
    cfg = cli.read_config(args.config)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    cfg.pop('adversarial', None)
    if method != 'plain':
        cfg.merge_from_dict(cli.read_config(getattr(args, method))._cfg_dict)
    cli.merge_options(cfg, args.cfg_options)
    if method == 'plain':
        cfg.pop('adversarial', None)
    cfg.randomness = dict(cfg.get('randomness', {}))
    cfg.randomness.seed = cfg.randomness.get('seed') or 0
    # The loader's random numbers depend on seed and epoch alone, whatever the method draws.
    cfg.train_dataloader.worker_init_fn = dict(type='seed_worker')
    cfg.train_dataloader.persistent_workers = False
    hooks = [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]
    if not any(hook and hook['type'] == 'RandomStateHook' for hook in hooks):
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='RandomStateHook')]
    cfg.load_from = cfg.get('load_from') or str(initial_weights(args))
    cfg.work_dir = str(args.out / method)
    return cfg


def check(configs: dict[str, Config], args: argparse.Namespace) -> None:
    """Look for everything that can be amiss now, rather than after the first training."""
    choose_images(args).check(configs['plain'], chosen_cells(args))
    for method, cfg in configs.items():
        cfg = copy.deepcopy(cfg)
        apply_adversarial(cfg)
        if cfg.load_from == str(initial_weights(args)):
            cfg.load_from = None  # about to be written
        cli.check_once(cfg, 'train')
        if method == 'plain':
            cli.check_once(cfg, 'test')
        for hook in cfg.get('custom_hooks', []):
            if hook.type == 'AdversarialTrainingHook':
                HOOKS.build(hook).build_attack('cpu')


def write_config(cfg: Config, file: Path) -> None:
    """Write a run's config, or check that the one that lies there is the same."""
    with replacing(file) as temporary:
        cfg.dump(temporary)
        if file.exists() and file.read_bytes() != temporary.read_bytes():
            raise UserError(
                f'{file.parent} holds a comparison with other settings than these: give the ones '
                f'of {file.name} there, or another folder with --out'
            )


def write_initial_weights(cfg: Config, file: Path) -> None:
    """Initialize the plain detector as MMEngine's Runner would, and save it."""
    # Its list of every parameter's origin is for a run's log file.
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    set_random_seed(cfg.randomness.seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    with replacing(file) as temporary:
        torch.save(dict(state_dict=model.state_dict()), temporary)


def run_tool(name: str, args: argparse.Namespace, *arguments: str | Path) -> None:
    """Run another tool; when it fails it has said why, and its status becomes ours."""
    command = [sys.executable, '-W', 'ignore']
    launcher = []
    if args.gpus > 1:
        command += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={args.gpus}']
        launcher = ['--launcher', 'pytorch']
    command += [str(ROOT / 'tools' / name), *map(str, arguments), *launcher]
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


def train(run: Path, args: argparse.Namespace) -> Path:
    """Train, or go on training, in a run's folder beside its config; gives the last checkpoint."""
    checkpoint = run / 'checkpoint.pth'
    if not checkpoint.exists():
        last = run / 'last_checkpoint'
        resume = ['--resume'] if last.exists() else []
        run_tool('train.py', args, run.with_suffix('.py'), *resume)
        with replacing(checkpoint) as temporary:
            shutil.copyfile(last.read_text(), temporary)
    return checkpoint


def evaluate(run: Path, checkpoint: Path, args: argparse.Namespace) -> RobustnessResult:
    """Evaluate, or go on evaluating, a checkpoint on clean and corrupted images."""
    options = ['--work-dir', run / 'evaluation', '--out', run / 'coco_c.json']
    options += ['--corruptions', *args.corruptions, '--severities', *args.severities]
    options += ['--metric', args.metric]
    for name in ('coco_c', 'channel_order', 'seed'):
        value = getattr(args, name)
        if value is not None:
            options += [f'--{name.replace("_", "-")}', value]
    run_tool('test_coco_c.py', args, run.with_suffix('.py'), checkpoint, *options)
    result = RobustnessResult.load(run / 'coco_c.json')
    # An earlier start may have been asked for more.
    chosen = chosen_cells(args)
    for name, severities in result.cells.items():
        result.cells[name] = {s: x for s, x in severities.items() if (name, int(s)) in chosen}
    result.cells = {name: severities for name, severities in result.cells.items() if severities}
    return result


def main() -> None:
    args = parse_args()
    configs = {method: make_config(method, args) for method in METHODS}
    check(configs, args)
    for method, cfg in configs.items():
        write_config(cfg, args.out / f'{method}.py')
    initial = initial_weights(args)
    if configs['plain'].load_from == str(initial) and not initial.exists():
        write_initial_weights(configs['plain'], initial)
    results = []
    for i, method in enumerate(METHODS, 1):
        print(f'\n[{i}/{len(METHODS)}] {method}: {args.out / method}', flush=True)
        checkpoint = train(args.out / method, args)
        results.append(evaluate(args.out / method, checkpoint, args))
    print(f'\n{write_report(results, METHODS, args.out)}')
    print(f'\nwrote {args.out}/comparison.md, its .csv files and plots')


if __name__ == '__main__':
    cli.run(main)
