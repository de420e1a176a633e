"""tools/train.py and tools/test.py as a user runs them, and what they say of mistakes."""

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from projects.dat.runtime import cli
from projects.dat.training.runner import make_hook
from tests.training.coco_case import coco_config, rewrite, write_coco
from tools import test, test_coco_c, train

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


# Mistakes that are found before the run has begun, in this process.


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A plain and two adversarial configs, data, and a checkpoint of a run of each."""
    folder = tmp_path_factory.mktemp('mistakes')
    _write_config(coco_config(write_coco(folder / 'data')), folder)
    for method in ('dat', 'det_advprop'):
        (folder / f'{method}.py').write_text(
            f"_base_ = ['small.py', '{ROOT}/configs/_base_/attacks/{method}.py']\n"
            'model = dict(backbone=dict(norm_eval=False, frozen_stages=-1))\n'
        )
    with MODELS.switch_scope_and_registry('mmdet'):
        weights = MODELS.build(coco_config(folder / 'data').model).state_dict()
    run = dict(state_dict=weights, meta=dict(iter=2, epoch=0), message_hub={})
    torch.save(run, folder / 'small.pth')
    for method in ('dat', 'det_advprop'):
        cfg = Config.fromfile(folder / f'{method}.py')
        saved = dict(method=make_hook(cfg).method(cfg), attack={}, skipped=0)
        torch.save(dict(run, adversarial_training=saved), folder / f'{method}.pth')
    return folder


@pytest.fixture
def call(folder, tmp_path, monkeypatch, capsys):
    """Run a tool that is to fail before MMEngine's Runner begins; gives its sentence."""

    def call(tool, *arguments):
        monkeypatch.chdir(folder)
        work_dir = tmp_path / 'run'
        before = sorted(work_dir.glob('*'))
        arguments = [str(a) for a in (*arguments, '--work-dir', work_dir)]
        monkeypatch.setattr('sys.argv', [tool.__file__, *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.run(tool.main)
        assert exit_.value.code == 2
        assert sorted(work_dir.glob('*')) == before
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith('error: ')
        return lines[-1]

    return call


WIDER = ['--cfg-options', 'model.neck.out_channels=32', 'model.bbox_head.in_channels=32']


@pytest.mark.parametrize('tool, arguments', [
    (test, ['small.py', 'small.pth', *WIDER]),
    (test_coco_c, ['small.py', 'small.pth', *WIDER]),
    (train, ['small.py', *WIDER, 'load_from=small.pth']),
    (train, ['small.py', *WIDER, 'load_from=small.pth', '--new-head']),
    (train, ['small.py', '--resume', 'small.pth', *WIDER]),
    (train, ['dat.py', '--resume', 'dat.pth', *WIDER]),
    (test, ['det_advprop.py', 'det_advprop.pth', *WIDER]),
])
def test_checkpoint_of_another_model(call, tool, arguments):
    sentence = call(tool, *arguments)
    assert 'is of another model' in sentence and 'neck.lateral_convs.0.conv.weight' in sentence


THREE = ['--cfg-options', 'model.bbox_head.num_classes=3']


def test_checkpoint_of_other_classes(call, folder, tmp_path):
    assert 'is of another head' in call(test, 'small.py', 'small.pth', *_of_three(folder, tmp_path))


def _of_three(folder, tmp_path):
    """Options for data of three classes."""
    root = write_coco(tmp_path / 'three')
    for split in ('train2017', 'val2017'):
        rewrite(root, lambda c: c['categories'].append({'id': 9, 'name': 'cross'}), split)
    classes = "('ring','star','cross')"
    keys = [f'{split}_dataloader.dataset.metainfo.classes' for split in ('train', 'val', 'test')]
    return ['--data-root', str(root), *THREE, *(f'{key}={classes}' for key in keys)]


def test_new_head(folder, tmp_path, monkeypatch):
    arguments = [*_of_three(folder, tmp_path), 'load_from=small.pth']
    monkeypatch.chdir(folder)
    arguments = ['small.py', *arguments, '--new-head', '--work-dir', str(tmp_path / 'run')]
    monkeypatch.setattr('sys.argv', ['train.py', *arguments])
    cli.run(train.main)
    trained = torch.load(tmp_path / 'run/iter_2.pth', weights_only=True)['state_dict']
    assert trained['bbox_head.retina_cls.weight'].shape[0] == 27
    first = torch.load(folder / 'small.pth', weights_only=True)['state_dict']
    changed = trained['backbone.conv1.weight'] - first['backbone.conv1.weight']
    assert changed.abs().max() < 0.01  # frozen or a step of training away from those weights


@pytest.mark.parametrize('before, now', [
    ('dat', 'small'), ('small', 'dat'), ('dat', 'det_advprop'), ('det_advprop', 'small'),
])
def test_resume_of_another_method(call, before, now):
    names = dict(small='plain training', dat='DiscreteAttack', det_advprop='DetAdvPropAttack')
    sentence = call(train, f'{now}.py', '--resume', f'{before}.pth')
    assert f'comes from {names[before]}' in sentence and 'load_from=' in sentence
    assert f'this config is {names[now]}' in sentence


class Executes:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize('write, parts', [
    (lambda file: torch.save(dict(state_dict=Executes()), file), ['is refused for safety']),
    (lambda file: file.write_bytes((file.parents[1] / 'small.pth').read_bytes()[:9999]),
     ['cannot be read']),
    (lambda file: None, ['last_checkpoint names', 'does not exist', '--resume CHECKPOINT']),
])
def test_bare_resume(call, folder, tmp_path, write, parts):
    (tmp_path / 'run').mkdir()
    os.link(folder / 'small.pth', tmp_path / 'small.pth')
    file = tmp_path / 'run' / 'iter_2.pth'
    write(file)
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(file))
    sentence = call(train, 'small.py', '--resume')
    for part in [str(file), *parts]:
        assert part in sentence
    assert 'weights_only' not in sentence and not (folder / 'executed').exists()


@pytest.mark.parametrize('option, parts', [
    ('model.backbone.dept=18', ["'dept'", 'ResNet', "did you mean 'depth'?"]),
    ('model.bbox_head.feat_channel=16', ["'feat_channel'", "did you mean 'feat_channels'?"]),
    ('model.neck.type=FPNN', ["'FPNN'", "did you mean 'FPN'?"]),
    ('optim_wrapper.optimizer.momentun=0.9', ["'momentun'", "did you mean 'momentum'?"]),
    ('train_dataloader.dataset.pipeline.2.keep_ration=True', ["'keep_ration'", 'Resize']),
    ('default_hooks.checkpoint.type=CheckpointHok', ["checkpoint.type: 'CheckpointHok'", "Hook'?"]),
    ('default_hooks.timer.type=IterTimerHook default_hooks.timer.intervl=3',
     ["default_hooks.timer has the argument 'intervl'"]),
    ('val_evaluator.metrc=bbox', ["val_evaluator has the argument 'metrc'", "'metric'?"]),
    ('adversarial.attack.apha=1', ["adversarial.attack has the argument 'apha'", "'alpha'?"]),
    ('adversarial.attack.controller.targt=1', ['adversarial.attack.controller', "'target'?"]),
    ('adversarial.tokenizer.precison=fp32', ['adversarial.tokenizer', "'precision'?"]),
    ('adversarial.log_intervall=5', ['adversarial has the argument', "'log_interval'?"]),
    ('adversarial.tokenizer.name_or_path=no/t.safetensors', ['no/t.safetensors']),
    ('adversarial.split_bn=aux model.backbone.norm_eval=True',
     ['frozen', '--cfg-options model.backbone.norm_eval=False']),
    ('adversarial.assembly=replace', ["split_bn='clean' needs clean images"]),
])
def test_typos(call, option, parts):
    sentence = call(train, 'dat.py', '--cfg-options', *option.split())
    for part in parts:
        assert part in sentence


def test_full_disk(folder, tmp_path, monkeypatch, capsys):
    def put(self, obj, filepath):
        written = filepath.endswith('iter_1.pth')
        Path(filepath).write_bytes(obj if written else obj[:5000])
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('mmengine.fileio.LocalBackend.put', put)
    monkeypatch.chdir(folder)
    options = ['--cfg-options', 'default_hooks.checkpoint.interval=1']
    arguments = ['small.py', '--work-dir', str(tmp_path / 'run'), *options]
    monkeypatch.setattr('sys.argv', ['train.py', *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.run(train.main)
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'No space left on device' in last and 'delete iter_2.pth' in last
    assert last.endswith(f'--resume {tmp_path}/run/iter_1.pth')
