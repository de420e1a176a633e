"""What is found of runs in their folders."""

import json
import os
import shutil

import pytest

from projects.dat.evaluation.page.run_folders import find_runs, read_literals
from projects.dat.runtime.errors import UserError
from tests.evaluation.result_case import make_result

from .run_case import EVIL, METRIC, write_comparison, write_run


def test_runs_of_a_comparison_by_method_and_seed(tmp_path):
    write_comparison(tmp_path / 'demo' / 'comparison')
    write_run(tmp_path / 'demo' / 'pretraining', 9, False)
    # Neither holds a run.
    (tmp_path / 'demo' / 'data').mkdir()
    (tmp_path / 'demo' / 'data' / 'annotations.json').write_text('{"images": []}')
    found = find_runs(tmp_path / 'demo')
    seeds = {method: [run.seed for run in runs] for method, runs in found.items()}
    assert seeds == {'plain': [0, 1], '$a$ & <b>"c': [0, 1], 'dat': [0, 1], 'pretraining': [0]}
    assert next(iter(find_runs(tmp_path / 'demo' / 'comparison' / 'dat' / 'seed1'))) == 'dat'
    # The order of the table of the comparison counts.
    table = tmp_path / 'demo' / 'comparison' / 'comparison.csv'
    table.write_text('method,run\ndat,1\ndat,2\nplain,1\n')
    assert list(find_runs(tmp_path / 'demo'))[:2] == ['dat', 'plain']


def test_methods_of_one_name_are_told_apart(tmp_path):
    for place in ('a', 'b'):
        write_run(tmp_path / place / 'dat', 0, True)
    assert list(find_runs(tmp_path)) == ['a/dat', 'b/dat']
    with pytest.raises(UserError, match='does not exist'):
        find_runs(tmp_path / 'c')


def test_results_of_probes_belong_to_the_run_they_look_at(tmp_path):
    for seed in (0, 1):
        run = write_run(tmp_path / 'dat' / f'seed{seed}', seed, True)
        (run / 'robustness.json').unlink()
        write_run(run / 'knn', 7 + seed, False)
        (run / 'knn/evaluation').mkdir()
    (runs,) = find_runs(tmp_path).values()
    assert [run.title for run in runs] == ['dat, seed 0', 'dat, seed 1']
    for i, run in enumerate(runs):
        (name, result), = run.results[0].items()
        assert name == 'knn/robustness.json' and result == make_result(
            7 + i, ['fog', 'frost'], [1, 3]
        )
        assert run.facts()['attack'].startswith('DiscreteAttack')


def test_facts(tmp_path):
    write_run(tmp_path / 'dat', 0, True)
    (run,), = find_runs(tmp_path / 'dat').values()
    assert run.facts() == {
        'model': 'EfficientDet, EfficientNetLite',
        'attack': 'DiscreteAttack: norm L2, alpha 0.00392', 'tokenizer': 'fast_f8_8192',
        'batches': 'replace, share 0.5, batch norm clean', 'schedule': '2 epochs',
        'batch size': '8', 'data': f'data/{EVIL}/', 'seed': '0', 'date': '2026-01-02',
        'versions': 'Python 3.11.7, PyTorch 2.11.0+cu130, MMEngine 0.10.7',
    }


def test_a_config_is_read_and_not_executed(tmp_path):
    trap = tmp_path / 'trap'
    text = f"a = dict(b=[-1, (True, None)], c=dict(d='x'))\nopen({str(trap)!r}, 'w')\n" \
           f"e = open({str(trap)!r}, 'w')\nf = dict(**g)\nh = dict([(1, 2)])\n"
    assert read_literals(text) == {'a': {'b': [-1, (True, None)], 'c': {'d': 'x'}}}
    assert not trap.exists()
    assert read_literals('a = (') == read_literals('(' * 10_000) == {}


def test_scalars_of_a_resumed_run(tmp_path):
    folder = write_run(tmp_path / 'dat', 0, True)
    later = folder / '20260103_000000'
    shutil.copytree(folder / '20260102_030405', later)
    lines = [dict(loss=9.0, iter=30, step=30, epoch=2), dict(loss=float('nan'), step=40, iter=40)]
    text = '\n'.join(map(json.dumps, lines))
    (later / 'vis_data' / 'scalars.json').write_text(f'{text}\n[]\n7\n')
    (run,), = find_runs(folder).values()
    training, validation = run.scalars
    assert training['loss'] == {10: 0.4, 20: 0.2, 30: 9.0, 40: 0.1}
    assert validation[METRIC] == {1: 0.1, 2: 0.2} and run.validated_by == 'epoch'
    assert f'loss_{EVIL}' in training and METRIC not in training


def test_damaged_results_are_named(tmp_path):
    folder = write_run(tmp_path / 'dat', 0, False)
    (folder / 'old.json').write_text('{"schema": 1}')
    (folder / 'cut.json').write_text('{\n "schema": 2, "ide')
    os.symlink('nowhere', folder / 'gone.json')
    (run,), = find_runs(folder).values()
    results, amiss = run.results
    assert list(results) == ['robustness.json']
    assert len(amiss) == 2 and 'cut.json' in amiss[0] and 'schema 1' in amiss[1]
