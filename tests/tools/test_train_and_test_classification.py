"""tools/train.py and tools/test.py on a classifier: runs, and what they say of mistakes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from projects.dat.runtime import cli
from tests.training.folder_case import CLASSES, folder_config, write_folders
from tools import test, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config, data, and a checkpoint of the config's model."""
    folder = tmp_path_factory.mktemp('classification')
    cfg = folder_config(write_folders(folder / 'data'))
    (folder / 'small.py').write_text(cfg.pretty_text)
    with MODELS.switch_scope_and_registry('mmpretrain'):
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), folder / 'small.pth')
    return folder


@pytest.fixture
def call(folder, tmp_path, monkeypatch):
    """Run a tool in the folder, with a work dir of the test's own."""

    def call(tool, *arguments):
        monkeypatch.chdir(folder)
        arguments = [*map(str, arguments), '--work-dir', str(tmp_path / 'run')]
        monkeypatch.setattr('sys.argv', [tool.__file__, *arguments])
        cli.run(tool.main)

    return call


@pytest.fixture
def sentence(call, tmp_path, capsys):
    """Run a tool that is to fail before MMEngine's Runner begins; gives its sentence."""

    def sentence(tool, *arguments):
        with pytest.raises(SystemExit) as exit_:
            call(tool, *arguments)
        assert exit_.value.code == 2 and not (tmp_path / 'run').exists()
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith('error: ')
        return last

    return sentence


def test_train_then_test(call, tmp_path):
    call(train, 'small.py', '--cfg-options', 'visualizer.name=trained')
    call(test, 'small.py', tmp_path / 'run/epoch_1.pth', '--out', tmp_path / 'out.pkl',
         '--show-dir', 'shown', '--cfg-options', 'visualizer.name=tested')
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert [p['gt_label'].item() for p in predictions] == [0, 0, 1, 1, 2, 2]
    assert all(p['pred_score'].sum() == pytest.approx(1) for p in predictions)
    shown = [file.name for file in sorted((tmp_path / 'run').glob('*/shown/*.png'))]
    assert shown[:2] == ['cat_0.png_0.png', 'cat_1.png_0.png'] and len(shown) == 6


def test_labels_that_have_moved(sentence, folder, tmp_path):
    weights = torch.load(folder / 'small.pth', weights_only=True)
    file = tmp_path / 'trained.pth'
    torch.save(dict(weights, meta=dict(dataset_meta=dict(classes=CLASSES))), file)
    root = write_folders(tmp_path / 'moved', classes=('cat', 'cow', 'dog'))
    said = sentence(test, 'small.py', file, '--data-root', root)
    assert "'dog' has the label 2 in the data, but 1" in said


OTHER = ['model.backbone.base_channels=16', 'model.head.in_channels=128']


@pytest.mark.parametrize('tool, arguments', [
    (test, ['small.py', 'small.pth', '--cfg-options', *OTHER]),
    (train, ['small.py', '--cfg-options', *OTHER, 'load_from=small.pth']),
    (train, ['small.py', '--new-head', '--cfg-options', *OTHER, 'load_from=small.pth']),
])
def test_checkpoint_of_another_model(sentence, tool, arguments):
    said = sentence(tool, *arguments)
    assert 'is of another model' in said and 'backbone.layer1.0.conv1.weight' in said


@pytest.fixture
def two(tmp_path):
    """Data of two classes and the options that it takes."""
    root = write_folders(tmp_path / 'two', count=3, classes=('cat', 'dog'))
    return ['--data-root', str(root), '--cfg-options', 'model.head.num_classes=2']


def test_checkpoint_of_other_classes(call, sentence, two, tmp_path):
    for said in (sentence(test, 'small.py', 'small.pth', *two),
                 sentence(train, 'small.py', *two, 'load_from=small.pth')):
        assert 'is of another head' in said and 'head.fc.weight ([3, 64], not [2, 64])' in said
        assert 'tools/train.py --new-head' in said
    call(train, 'small.py', '--new-head', *two, 'load_from=small.pth')
    trained = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=True)
    assert trained['state_dict']['head.fc.weight'].shape == (2, 64)


@pytest.mark.parametrize('tool, arguments', [('train.py', []), ('test.py', ['small.pth'])])
def test_missing_data(folder, tool, arguments):
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / tool), 'small.py', *arguments]
    run = subprocess.run(
        [*command, '--data-root', 'moved'], cwd=folder, capture_output=True, text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert run.returncode == 2
    assert 'Traceback' not in run.stdout + run.stderr
    (said,) = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert f"the data root 'moved' of {tool[:-3]}_dataloader.dataset does not exist" in said
    assert '--data-root PATH' in said


def test_broken_image_met_in_a_loader_worker(call, tmp_path, capsys):
    root = write_folders(tmp_path / 'many', count=9)
    *_, broken = (root / 'train/cat').iterdir()  # not among the sampled ones
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(SystemExit) as exit_:
        call(train, 'small.py', '--data-root', root)
    assert exit_.value.code == 2 and list((tmp_path / 'run').glob('*/*.log'))
    last = capsys.readouterr().err.splitlines()[-1]
    assert f'error: {broken} is truncated or is no image (500 bytes)' in last
