"""Folders as runs leave them, with names that would be markup if a page did not escape them."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from projects.dat.evaluation.results import Result
from tests.evaluation.result_case import METRIC, make_result

EVIL = '<script>alert("1")</script>'
CONFIG = f"""
model = dict(type='EfficientDet', backbone=dict(type='EfficientNetLite', depth=-1))
train_cfg = dict(max_epochs=2, type='EpochBasedTrainLoop')
train_dataloader = dict(batch_size=8, dataset=dict(data_root='data/{EVIL}/'))
randomness = dict(seed=0)
load_from = None
"""
ATTACK = """adversarial = dict(
    assembly='replace', share=0.5, split_bn='clean', tokenizer=dict(name_or_path='fast_f8_8192'),
    attack=dict(norm='L2', type='DiscreteAttack', alpha=0.00392156862745098))
"""
LOG = """
    Python: 3.11.7 (main)
    PyTorch: 2.11.0+cu130
    MMEngine: 0.10.7
"""


def write_run(folder: Path, run: int, attacked: bool, result: Result | None = None) -> Path:
    """A training of two epochs with validation, and its result; numbers depend on ``run``."""
    start = folder / '20260102_030405'
    data = start / 'vis_data'
    (data / 'vis_image').mkdir(parents=True)
    (data / 'config.py').write_text(CONFIG + ATTACK * attacked)
    (start / '20260102_030405.log').write_text(LOG)
    lines = []
    for step in (10, 20, 30, 40):
        values = dict(lr=0.1, loss=4 / step + run, step=step, epoch=step // 20, iter=step)
        values[f'loss_{EVIL}'] = 1.0
        if attacked:
            values |= {'attack/token_change': 0.04, 'attack/rise': 0.1, 'attack/skipped': 0}
        lines.append(json.dumps(values))
    lines += [json.dumps({METRIC: 0.1 * epoch, 'step': epoch}) for epoch in (1, 2)]
    (data / 'scalars.json').write_text('\n'.join([*lines, '{"loss": 0.1, "st']))  # cut off
    if attacked:
        for step in (0, 20, 40):
            noise = np.random.default_rng(step).integers(0, 256, (400, 1800, 3), np.uint8)
            Image.fromarray(noise).save(data / 'vis_image' / f'attack_{step}.png')
    (result or make_result(run, ['fog', 'frost'], [1, 3])).save(folder / 'robustness.json')
    return folder


def write_analysis(folder: Path, name: str = 'bn_statistics') -> None:
    """What an analysis leaves."""
    out = folder / 'analyses' / name
    out.mkdir(parents=True)
    (out / 'summary.md').write_text(f'The peak is at 0.95, {EVIL}.\n')
    (out / 'table.csv').write_text(f'layer,mean,{EVIL}\n{EVIL},0.123456789,0.5\n')
    make_result(9).save(out / 'result.json')
    figure = Figure()
    figure.subplots().plot([1, 3, 2])
    figure.savefig(out / 'histogram.png')


def write_comparison(folder: Path, seeds: int = 2) -> Path:
    """Runs as tools/compare.py leaves them, one method with an evil name."""
    for i, method in enumerate(['plain', 'dat', '$a$ & <b>"c']):
        for seed in range(seeds):
            write_run(folder / method / f'seed{seed}', seeds * i + seed, method == 'dat')
    write_analysis(folder)
    (folder / 'pictures').mkdir()
    Image.new('RGB', (900, 300), 'navy').save(folder / 'pictures' / 'val_0"onerror="1.png')
    return folder
