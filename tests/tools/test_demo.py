"""The parts of the demo: its words on a comparison, its progress, its pictures, its failures."""

import fcntl
import json

import pytest
from PIL import Image

from projects.dat.evaluation.comparison import Comparison
from projects.dat.evaluation.results import CLEAN, Identity, Result
from projects.dat.runtime.errors import UserError
from tools import demo
from tools.demo_pictures import draw_curves


def result(run, clean, corrupted):
    """One run's: AP on clean images and, alike, on every cell of the demo."""
    identity = Identity('c.py', '0' * 64, f'{run}.pth', f'{run:064}', 'coco/bbox_mAP', {}, {})
    found = Result(identity)
    found.add(CLEAN, {'coco/bbox_mAP': clean, 'coco/bbox_mAP_50': 0.9}, 10)
    for cell in demo.CELLS:
        found.add(cell, {'coco/bbox_mAP': corrupted, 'coco/bbox_mAP_50': 0.8}, 10)
    return found


@pytest.fixture
def comparison():
    """B is 10 points better on corrupted images with either seed; on clean ones it depends."""
    return Comparison({
        'A': [result(0, 0.5, 0.2), result(1, 0.5, 0.3)],
        'B': [result(2, 0.6, 0.3), result(3, 0.4, 0.4)],
    })


def test_words_follow_differences_and_their_spread(comparison):
    lines = demo.summarize(comparison).splitlines()
    better = next(line for line in lines if 'better:' in line)
    unknown = next(line for line in lines if 'no difference shown:' in line)
    assert not any('worse:' in line for line in lines)
    assert 'AP corrupted (+10.0 ± 0.0)' in better and 'AP clean' not in better
    assert 'AP clean (+0.0 ± 14.1)' in unknown and 'AP50 clean (+0.0 ± 0.0)' in unknown


def write_log(run, steps):
    folder = run / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [json.dumps({'step': step, 'loss': 1.0 / step}) for step in steps]
    (folder / 'scalars.json').write_text('\n'.join([*lines, '{"coco/bbox_mAP": 0.5, "step": 2}']))


def test_progress_of_a_run(tmp_path):
    assert demo._share_done(tmp_path) == 0
    write_log(tmp_path, [15, 30])
    assert demo._share_done(tmp_path) == pytest.approx(2 / 3 * 30 / (demo.EPOCH * demo.TUNING))
    (tmp_path / 'checkpoint.pth').touch()
    assert demo._share_done(tmp_path) == pytest.approx(2 / 3)
    result(0, 0.5, 0.2).save(tmp_path / demo.RESULT)
    assert demo._share_done(tmp_path) == pytest.approx(1)


def test_a_tool_that_fails_has_the_last_word(tmp_path):
    with pytest.raises(UserError, match='the config no.py does not exist.*train.log'):
        demo.run_tool('train.py', ['no.py'], tmp_path, lambda: 0.0)


def test_a_tool_still_at_work_is_left_alone(tmp_path):
    log = tmp_path / 'train.log'
    with open(log, 'w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write('precious')
        stream.flush()
        with pytest.raises(UserError, match='still at work'):
            demo.run_tool('train.py', ['no.py'], tmp_path, lambda: 0.0)
    assert log.read_text() == 'precious'


def test_curves_of_runs_without_and_with_an_attack(comparison, tmp_path):
    runs = {name: tmp_path / name for name in comparison.methods}
    for run in runs.values():
        write_log(run, [10, 20])
    draw_curves(runs, comparison, demo.QUANTITIES, tmp_path / 'curves.png')
    with Image.open(tmp_path / 'curves.png') as picture:
        assert picture.width > 1000 and len(picture.convert('RGB').getcolors(10**6)) > 10
