"""tools/test_coco_c.py as a user runs it, mostly inside this process to save its start."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import mmcv
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import TestLoop as Loop

from projects.dat.corruptions import corrupt
from projects.dat.corruptions.coco_c.tree import make_manifest
from projects.dat.evaluation.coco_c import OnTheFly, Tree
from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.evaluation.test_images import datasets_of
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.seeds import hash_seed
from tests.evaluation.bright_boxes import write_case, write_checkpoint
from tests.training.coco_case import write_coco
from tools.test_coco_c import main

ROOT = Path(__file__).resolve().parents[2]
CORRUPTIONS = ('shot_noise', 'pixelate')
GRID = ('--corruptions', *CORRUPTIONS, '--severities', '1', '3')


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp('bright'))


@pytest.fixture
def evaluate(case, tmp_path, monkeypatch):
    """Run the tool on the case and give its result."""

    def run(*arguments, config=case[0], checkpoint=case[1], out=tmp_path / 'result.json'):
        command = [config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out, *arguments]
        monkeypatch.setattr(sys, 'argv', ['test_coco_c.py', *map(str, command)])
        main()
        return Result.load(out)

    return run


@pytest.fixture(scope='module')
def tree(case):
    """A png tree of the grid, made by hand."""
    cfg = Config.fromfile(case[0])
    (_, dataset), = datasets_of(cfg)
    data, root = Path(dataset.data_root), case[0].parent / 'tree'
    content = json.loads((data / dataset.ann_file).read_text())
    for name, severity in cells_of_grid():
        folder = root / name / str(severity)
        folder.mkdir(parents=True)
        for entry in content['images']:
            image = mmcv.imread(data / 'val2017' / entry['file_name'], 'color', channel_order='bgr')
            seed = hash_seed(0, entry['id'], name, severity)
            file = folder / Path(entry['file_name']).with_suffix('.png')
            cv2.imwrite(str(file), corrupt(image, name, severity, seed))
    for entry in content['images']:
        entry['file_name'] = entry['file_name'].replace('.jpg', '.png')
    (root / 'annotations.json').write_text(json.dumps(content))
    write_manifest(root, annotations_sha256_of(cfg))
    return root


def annotations_sha256_of(cfg):
    return OnTheFly([], 0, 'bgr').data(cfg)['coco_c']['annotations_sha256']


def cells_of_grid():
    return [(name, severity) for name in CORRUPTIONS for severity in (1, 3)]


def write_manifest(root, sha256, **changes):
    manifest = dict(make_manifest(sha256, 0, 'bgr', 'png', None), **changes)
    (root / 'manifest.json').write_text(json.dumps(manifest))


def pictures(work_dir):
    """Bytes of the pictures of test images, by name."""
    files = sorted((work_dir / 'pictures').iterdir())
    contents = {file.name: file.read_bytes() for file in files}
    shutil.rmtree(work_dir / 'pictures')
    return contents


def test_on_the_fly_equals_a_png_tree(evaluate, tree, tmp_path, capsys):
    result = evaluate(*GRID, '--show', '2')
    out = capsys.readouterr().out
    shown = pictures(tmp_path / 'work')
    assert list(shown) == ['000_val2017_0.png', '001_val2017_1.png']
    assert out.endswith(f'and pictures of test images in {tmp_path}/work/pictures\n')
    assert 'partial: mean of 4 of 75 cells' in out and 'mPC  ' not in out
    assert {found.num_images for found in result.cells.values()} == {7}
    # What would be equal in any case proves nothing.
    values = [result.value(cell) for cell in (CLEAN, *cells_of_grid())]
    assert len(set(values)) == 5 and min(values) > 0 and max(values) == result.value(CLEAN)
    from_tree = evaluate(*GRID, '--coco-c', tree, out=tmp_path / 'tree.json')
    # The pixels are the same, and so is the result; it may be added to either way.
    assert from_tree == result
    evaluate(*GRID, '--coco-c', tree, '--show', '2', out=tmp_path / 'tree.json')
    assert pictures(tmp_path / 'work') == shown
    evaluate('--corruptions', 'fog', '--severities', '1', out=tmp_path / 'tree.json')
    rgb = evaluate('--corruptions', 'shot_noise', '--severities', '1', '--channel-order', 'rgb',
                   out=tmp_path / 'rgb.json')
    noise = ('shot_noise', 1)
    assert rgb.value(noise) not in (None, result.value(noise))


def test_neither_workers_nor_an_interruption_change_a_figure(evaluate, tmp_path, monkeypatch):
    expected = tmp_path / 'expected.json'
    evaluate(*GRID, '--cfg-options', 'test_dataloader.num_workers=0',
             'test_dataloader.persistent_workers=False', out=expected)
    original, calls = Loop.run, Counter()

    def run(loop):
        calls['run'] += 1
        if calls['run'] == 4:
            raise KeyboardInterrupt
        return original(loop)

    monkeypatch.setattr(Loop, 'run', run)
    out = tmp_path / 'out.json'
    with pytest.raises(KeyboardInterrupt):
        evaluate(*GRID, out=out)
    cut = Result.load(out)
    assert list(cut.cells) == [CLEAN, ('shot_noise', 1), ('shot_noise', 3)]
    evaluate(*GRID, out=out)
    assert calls['run'] == 4 + 2
    assert out.read_bytes() == expected.read_bytes()
    # Once more finds nothing to do; other corruptions are added.
    evaluate(*GRID, out=out)
    assert calls['run'] == 6 and out.read_bytes() == expected.read_bytes()
    more = evaluate('--corruptions', 'saturate', '--severities', '2', out=out)
    assert calls['run'] == 7 and more.value(('saturate', 2)) is not None
    del more.cells['saturate', 2]
    assert more == Result.load(expected)


def test_two_processes_give_the_figures_of_one(evaluate, case, tmp_path):
    expected = evaluate('--corruptions', 'shot_noise', '--severities', '1')
    config = case[0].parent / 'outside.py'
    config.write_text("_base_ = 'bright.py'\n"
                      "custom_imports = dict(imports=['projects.dat.register', 'bright_boxes'])\n")
    environment = {
        **os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'PORT': '29737',
        'TOOL': 'test_coco_c.py', 'PYTHONPATH': str(ROOT / 'tests/evaluation'),
    }
    command = [ROOT / 'tools/dist_test.sh', config, case[1], '2', '--corruptions', 'shot_noise',
               '--severities', '1', '--work-dir', 'work', '--show', '1']
    run = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count('partial: mean of 1 of 75 cells') == 1
    assert list(pictures(tmp_path / 'work')) == ['000_val2017_0.png']
    result = Result.load(tmp_path / 'work/coco_c.json')
    assert result.cells == expected.cells
    difference = result.identity.difference(expected.identity, model=True)
    assert difference == ''


@pytest.fixture(scope='module')
def finished(case, tmp_path_factory):
    """A result with nothing but its identity, for runs to be refused."""
    folder = tmp_path_factory.mktemp('finished')
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, 'argv', ['x', str(case[0]), str(case[1]), '--work-dir', str(folder),
                                '--corruptions', 'fog', '--severities', '1'])
    main()
    patch.undo()
    return folder / 'coco_c.json'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--seed', '1'], 'seed of coco_c is 0 and 1.*--out'),
        (['--channel-order', 'rgb'], 'channel_order of coco_c is bgr and rgb'),
        (['--metric', 'coco/bbox_mAP_50'], 'metric is coco/bbox_mAP and coco/bbox_mAP_50'),
        (['--cfg-options', 'test_dataloader.batch_size=1'], r'config \(model, .* is \S+'),
        (['--cfg-options', 'model.data_preprocessor.mean=[1,1,1]',
          'model.data_preprocessor.std=[1,1,1]'], r'config \(model'),
    ],
)
def test_a_result_of_something_else_is_not_continued(
    evaluate, finished, arguments, message
):
    before = finished.read_bytes()
    with pytest.raises(UserError, match=message) as error:
        evaluate(*arguments, *GRID, out=finished)
    assert str(finished) in str(error.value) and finished.read_bytes() == before


def test_another_checkpoint_is_not_continued(evaluate, finished, tmp_path):
    other = write_checkpoint(tmp_path / 'other.pth', 116.0)
    with pytest.raises(UserError, match=r'checkpoint is \S+bright.pth \[.*\S+other.pth'):
        evaluate(checkpoint=other, out=finished)


def test_another_version_of_a_package_is_not_continued(evaluate, finished):
    content = json.loads(finished.read_text())
    assert {'torch', 'numpy', 'mmdet', 'pycocotools'} <= content['identity']['packages'].keys()
    assert 'mmpretrain' not in content['identity']['packages']
    content['identity']['packages'].update(numpy='1.0', mmpretrain='0.1')
    older = finished.with_name('older.json')
    older.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'version of numpy is 1\.0 and \d.*--out') as error:
        evaluate(out=older)
    assert 'mmpretrain' not in str(error.value)
    corrupted = content['identity']['data']['coco_c']['corrupted_with']
    content['identity']['data']['coco_c']['corrupted_with'] = f'{corrupted}9'
    content['identity']['packages'] = {}
    older.write_text(json.dumps(content))
    with pytest.raises(UserError, match='corrupted_with of coco_c is numpy .*scipy'):
        evaluate(out=older)


def test_data_elsewhere_with_other_annotations(evaluate, case, finished, tmp_path):
    moved = tmp_path / 'moved'
    moved.symlink_to(case[0].parent / 'data')
    evaluate('--data-root', moved, '--corruptions', 'fog', '--severities', '1', out=finished)
    moved.unlink()
    (moved / 'annotations').mkdir(parents=True)
    (moved / 'val2017').symlink_to(case[0].parent / 'data/val2017')
    file = 'annotations/instances_val2017.json'
    (moved / file).write_text((case[0].parent / 'data' / file).read_text() + '\n')
    with pytest.raises(UserError, match='annotations_sha256 of coco_c is'):
        evaluate('--data-root', moved, out=finished)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--seed', '3'], 'tree was built with the seed 0, but 3 is asked for'),
        (['--channel-order', 'rgb'], 'the channel order bgr, but rgb'),
        (['--corruptions', 'fog', 'shot_noise', '--severities', '3', '2'],
         r'lacks images of fog 2 3, shot_noise 2: .*build_coco_c.py --images \S+ --annotations \S+ '
         r'--out \S+tree --seed 0 --channel-order bgr --format png --corruptions fog shot_noise '
         '--severities 2 3`'),
        (['--cfg-options', 'test_dataloader.dataset.pipeline.0.color_type=grayscale'],
         "color_type='grayscale'.*built with 'color'"),
        (['--seed', '-1'], 'at least 0, but is -1'),
        (['--data-root', 'OTHER'], 'was not built from .*instances_val2017.json.*build_coco_c.py'),
    ],
)
def test_trees_that_do_not_fit(evaluate, tree, tmp_path, arguments, message):
    if 'OTHER' in arguments:
        arguments = ['--data-root', write_coco(tmp_path / 'other'), '--cfg-options',
                     "test_dataloader.dataset.metainfo.classes=('ring','star')"]
    with pytest.raises(UserError, match=message):
        evaluate(*GRID, '--coco-c', tree, *arguments)


def test_a_tree_in_the_making(case, tree, tmp_path):
    """One image of a cell is missing; then the list of all of them."""
    cfg = Config.fromfile(case[0])
    copy = tmp_path / 'tree'
    (copy / 'shot_noise').mkdir(parents=True)
    for file in (tree / 'shot_noise/1').iterdir():
        if file.stem != '3':
            (copy / 'shot_noise/1').mkdir(exist_ok=True)
            (copy / 'shot_noise/1' / file.name).symlink_to(file)
    write_manifest(copy, annotations_sha256_of(cfg), format='jpeg', quality=85)
    for _ in range(2):
        with pytest.raises(UserError, match='lacks images of shot_noise 1: .*jpeg --quality 85'):
            Tree([CLEAN, ('shot_noise', 1)], copy).trials(cfg)
        (copy / 'annotations.json').write_bytes((tree / 'annotations.json').read_bytes())
    assert Tree([], copy).data(cfg)['coco_c']['format'] == 'jpeg 85'
    with pytest.raises(UserError, match='manifest.json'):
        Tree([], copy / 'shot_noise')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--cfg-options', 'test_dataloader.dataset.pipeline.0.type=LoadImageFromNDArray'],
         'expected a LoadImageFromFile in test_dataloader.dataset.pipeline.*LoadImageFromNDArray'),
        (['--metric', 'coco/bbox_AP'], 'coco/bbox_AP .*gave coco/bbox_mAP, .*--metric'),
    ],
)
def test_configs_that_cannot_be_evaluated(evaluate, arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        evaluate(*GRID, *arguments)
    assert not (tmp_path / 'result.json').exists()


def test_a_detector_that_finds_nothing_has_zeros(evaluate, tmp_path):
    blind = write_checkpoint(tmp_path / 'blind.pth', 300.0)
    result = evaluate('--corruptions', 'fog', '--severities', '1', checkpoint=blind)
    assert result.value(CLEAN) == result.value(('fog', 1)) == 0
    with pytest.raises(UserError, match='coco/typo'):
        evaluate('--metric', 'coco/typo', checkpoint=blind, out=tmp_path / 'typo.json')


def test_a_config_of_mmdetection_behind_wrappers(evaluate, tmp_path):
    root = write_coco(tmp_path / 'data', count=2)
    base = tmp_path / 'base.py'
    base.write_text("_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py']\n")
    cfg = Config.fromfile(base)
    leaf = cfg.test_dataloader.dataset
    leaf.update(data_root=str(root), metainfo=dict(classes=('ring', 'star')))
    leaf.pipeline[1].scale = (64, 64)
    wrapped = dict(type='ConcatDataset', datasets=[leaf])
    cfg.test_dataloader.dataset = dict(type='RepeatDataset', times=1, dataset=wrapped)
    cfg.test_evaluator.update(
        ann_file=f'{root}/annotations/instances_val2017.json', classwise=True
    )
    cfg.model.bbox_head.num_classes = 2
    cfg.model.test_cfg.update(score_thr=0.0, max_per_img=3)
    cfg.model.backbone.init_cfg = None
    init_default_scope('mmdet')
    torch.manual_seed(0)
    config, checkpoint = tmp_path / 'retina.py', tmp_path / 'retina.pth'
    config.write_text(cfg.pretty_text)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkpoint)
    result = evaluate('--corruptions', 'fog', '--severities', '5', config=config,
                      checkpoint=checkpoint)
    assert result.cells[CLEAN].num_images == 2
    assert {'coco/bbox_mAP_50', 'coco/ring_precision'} <= result.cells['fog', 5].metrics.keys()
