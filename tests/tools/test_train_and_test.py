"""tools/train.py and tools/test.py as a user runs them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

from tests.training.coco_case import coco_config, rewrite, write_coco

ROOT = Path(__file__).resolve().parents[2]


def _run(tool, *arguments, cwd):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / tool), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )


def _write_config(cfg, folder):
    file = folder / 'small.py'
    file.write_text(cfg.pretty_text)
    return file


def _assert_sentence(run, *parts):
    assert run.returncode == 2, run.stderr
    assert 'Traceback' not in run.stdout + run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]


def test_train_then_test(tmp_path):
    config = _write_config(coco_config(tmp_path / 'moved'), tmp_path)
    root = write_coco(tmp_path / 'data')
    run = _run('train.py', config, '--data-root', root, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    checkpoint = tmp_path / 'work_dirs/small/iter_2.pth'
    assert checkpoint.is_file()

    run = _run('test.py', config, checkpoint, '--data-root', root, '--work-dir', 'evaluated',
               '--out', 'predictions.pkl', '--show-dir', 'shown', cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    scores = json.loads(next((tmp_path / 'evaluated').glob('*/*.json')).read_text())
    assert 0 <= scores['coco/bbox_mAP_50'] <= 1
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert [p['img_id'] for p in predictions] == [0, 1, 2]
    assert len(list((tmp_path / 'evaluated').glob('*/shown/*.jpg'))) == 3


def test_missing_coco_gives_the_download_command(tmp_path):
    config = tmp_path / 'retina.py'
    config.write_text("_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py']\n")
    run = _run('train.py', config, cwd=tmp_path)
    _assert_sentence(run, 'data/coco', 'curl -LO http://images.cocodataset.org/', '--data-root')
    assert not (tmp_path / 'work_dirs').exists()


def test_file_name_that_leaves_the_folder(tmp_path):
    root = write_coco(tmp_path / 'data')
    rewrite(root, lambda c: c['images'][0].update(file_name='../secret.jpg'), 'val2017')
    config = _write_config(coco_config(root), tmp_path)
    run = _run('test.py', config, 'none.pth', cwd=tmp_path)
    _assert_sentence(run, "'../secret.jpg'", 'leaves the image folder')


def test_truncated_image_met_in_a_loader_worker(tmp_path):
    root = write_coco(tmp_path / 'data', count=42)
    broken = root / 'train2017' / '1.jpg'  # not among the sampled ones
    broken.write_bytes(broken.read_bytes()[:1000])
    run = _run('train.py', _write_config(coco_config(root), tmp_path), cwd=tmp_path)
    assert 'Checkpoints will be saved' in run.stdout  # the run itself had begun
    _assert_sentence(run, f'{broken} is truncated or is no image (1000 bytes)')
