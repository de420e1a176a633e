"""A checkpoint of another model, of another run or of no model at all is refused."""

import copy
import os

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.weights import (
    check_checkpoint,
    check_fits,
    check_labels_kept,
    read_checkpoint,
)
from tests.training.coco_case import coco_config


def build(**options):
    cfg = coco_config('data')
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    with MODELS.switch_scope_and_registry('mmdet'):
        return MODELS.build(cfg.model)


@pytest.fixture(scope='module')
def weights():
    return build().state_dict()


def sentence(function, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_weights_are_loaded(weights):
    model = build()
    check_fits(model, dict(state_dict=weights), 'a.pth')
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def change(weights, add=(), drop=()):
    weights = copy.copy(weights)
    weights.update({name: torch.zeros(3) for name in add})
    return {name: value for name, value in weights.items() if not any(d in name for d in drop)}


HARMLESS = {
    'parallel': lambda w: {f'module.{name}': value for name, value in w.items()},
    'old': lambda w: change(w, drop=['num_batches_tracked']),
    'preprocessor': lambda w: change(w, add=['data_preprocessor.mean', 'data_preprocessor.std']),
    'averages': lambda w: change(w, add=['ema_backbone_conv1_weight']),
    'auxiliary': lambda w: change(w, add=['backbone.bn1.aux.weight', 'backbone.bn1.aux.bias']),
}


@pytest.mark.parametrize('alter', HARMLESS.values(), ids=HARMLESS)
def test_what_comes_and_goes_is_overlooked(weights, alter):
    check_fits(build(), dict(state_dict=alter(weights)), 'a.pth')
    check_fits(build(), alter(weights), 'a.pth')


@pytest.mark.parametrize('options, parts', [
    (dict(model__neck__out_channels=32, model__bbox_head__in_channels=32),
     ['of another model', 'of another shape: neck.lateral_convs.0.conv.weight ([16, 64, 1, 1], not '
      '[32, 64, 1, 1])', 'and']),
    (dict(model__backbone__depth=34), ['another model', 'missing: backbone.layer1.2.conv1.weight']),
    (dict(model__neck__in_channels=[64, 128, 256], model__backbone__out_indices=[0, 1, 2]),
     ['another model', 'unexpected: neck.lateral_convs.3.conv.weight']),
])
def test_other_models(weights, options, parts):
    model = build(**options)
    told = sentence(check_fits, model, dict(state_dict=weights), 'a.pth')
    for part in ['the checkpoint, a.pth', *parts, 'give the config that it was trained with']:
        assert part in told
    assert len(told) < 700
    assert 'new_head' not in told
    assert 'another model' in sentence(check_fits, model, weights, 'a.pth', True)


def test_auxiliary_norm_of_nothing_is_unexpected(weights):
    weights = change(weights, add=['bbox_head.retina_cls.aux.weight', 'backbone.other.aux.weight'])
    told = sentence(check_fits, build(), weights, 'a.pth')
    assert 'unexpected: backbone.other.aux.weight)' in told


@pytest.mark.parametrize('alter', [
    lambda w: change(w, drop=['bbox_head.retina_cls.bias']),
    lambda w: change(w, add=['bbox_head.tower.weight']),
    lambda w: {n: v[:9] if 'retina_cls' in n else v for n, v in w.items()},
])
def test_a_new_head_has_to_be_asked_for(weights, alter):
    weights = alter(weights)
    told = sentence(check_fits, build(), weights, 'a.pth')
    assert 'of another head' in told and '--new-head' in told
    check_fits(build(), weights, 'a.pth', new_head=True)


class Reduces:
    """Pickles as a call that a malicious file might ask for."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('payload, name', [
    (Reduces(os.system, 'touch executed'), 'posix.system'),
    (Reduces(eval, "open('executed', 'w')"), 'eval'),
    (Reduces(getattr, HistoryBuffer, '__init__'), '__init__'),
    (torch.nn.Linear(1, 1), 'torch.nn.modules.linear.Linear'),
])
@pytest.mark.parametrize('zipped', [True, False])
def test_unsafe_files_are_refused_for_safety(tmp_path, monkeypatch, payload, name, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=payload), 'a.pth', _use_new_zipfile_serialization=zipped)
    told = sentence(read_checkpoint, 'a.pth', 'checkpoint', 'use another')
    assert told.startswith('the checkpoint, a.pth, is refused for safety')
    assert f'asks to load {name},' in told
    assert 'weights_only' not in told and not (tmp_path / 'executed').exists()


def truncated(file, zipped=True):
    torch.save(dict(w=torch.zeros(1000)), file, _use_new_zipfile_serialization=zipped)
    os.truncate(file, 700)


@pytest.mark.parametrize('write, reason', [
    (truncated, 'cannot be read (its 700 bytes are no whole file'),
    (lambda file: truncated(file, zipped=False), 'cannot be read (its 700 bytes are no whole file'),
    (lambda file: file.touch(), 'cannot be read (its 0 bytes'),
    (lambda file: file.write_text('<html>404</html>'), 'cannot be read (its 16 bytes'),
    (lambda file: file.write_text('hello world'), 'cannot be read (its 11 bytes'),
    (lambda file: torch.save([1], file), 'holds a list, not weights by name'),
    (lambda file: None, 'does not exist'),
    (lambda file: file.mkdir(), 'does not exist'),
])
def test_files_that_are_no_checkpoints(tmp_path, write, reason):
    file = tmp_path / 'a.pth'
    write(file)
    told = sentence(read_checkpoint, str(file), 'checkpoint', 'use another')
    assert f'the checkpoint, {file}, {reason}' in told and told.endswith(': use another')
    assert 'weights_only' not in told


def run_config(work_dir, **options):
    cfg = coco_config('data')
    cfg.update(work_dir=str(work_dir), **options)
    return cfg


def save_run(file, weights, **more):
    torch.save(dict(state_dict=weights, meta=dict(iter=2, epoch=1), message_hub={}, **more), file)
    (file.parent / 'last_checkpoint').write_text(str(file))


def test_run_without_a_checkpoint(tmp_path):
    check_checkpoint(run_config(tmp_path), build())
    check_checkpoint(run_config(tmp_path, resume=True), build())


def test_checkpoint_to_go_on_from(tmp_path, weights):
    file = tmp_path / 'iter_2.pth'
    save_run(file, weights)
    check_checkpoint(run_config(tmp_path, resume=True), build())
    check_checkpoint(run_config('elsewhere', resume=True, load_from=str(file)), build())
    other = build(model__backbone__depth=34)
    told = sentence(check_checkpoint, run_config(tmp_path, resume=True), other)
    assert 'of another model' in told
    check_checkpoint(run_config(tmp_path), other)  # which starts anew

    os.truncate(file, 700)
    assert f'{file}, cannot be read' in sentence(
        check_checkpoint, run_config(tmp_path, resume=True), build()
    )
    file.unlink()
    told = sentence(check_checkpoint, run_config(tmp_path, resume=True), build())
    assert f"last_checkpoint names the checkpoint '{file}', which does not exist" in told


def test_weights_alone_are_nothing_to_go_on_from(tmp_path, weights):
    file = tmp_path / 'w.pth'
    torch.save(dict(state_dict=weights, meta={}), file)
    told = sentence(
        check_checkpoint, run_config(tmp_path, resume=True, load_from=str(file)), build()
    )
    assert f'--cfg-options load_from={file}' in told
    check_checkpoint(run_config(tmp_path, load_from=str(file)), build())


@pytest.mark.parametrize('trained', [None, (), ('cat', 'dog', 'owl'), ('cat', 'dog'), ('a', 'dog')])
def test_labels_that_are_kept(trained):
    meta = {} if trained is None else dict(dataset_meta=dict(classes=trained))
    check_labels_kept(dict(state_dict={}, meta=meta), ('cat', 'dog', 'owl'))


def test_labels_that_have_moved():
    """As many folders, but one is new and one is gone."""
    checkpoint = dict(meta=dict(dataset_meta=dict(classes=('cat', 'dog', 'owl'))))
    told = sentence(check_labels_kept, checkpoint, ['cat', 'cow', 'dog'])
    assert "'dog' has the label 2 in the data, but 1" in told and '(cat, dog, owl)' in told
