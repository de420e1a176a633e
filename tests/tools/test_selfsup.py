"""From photographs without labels to figures of robustness, tool by tool."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.runtime import cli
from tests.training.folder_case import write_folders
from tools import extract_backbone, test_robustness, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Data, and the small configs made to fit it."""
    folder = tmp_path_factory.mktemp('selfsup')
    root = write_folders(folder / 'data', count=3)
    for name in ('dat_mocov3_small', 'linear_probe_small', 'knn_small'):
        cfg = Config.fromfile(ROOT / f'configs/selfsup/{name}.py')
        for split in ('train', 'val', 'test'):
            if loader := cfg.get(f'{split}_dataloader'):
                loader.dataset.data_root = str(root)
                loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        if 'mocov3' not in name:
            cfg.model.head.num_classes = 3
        cfg.train_cfg.max_epochs = 1
        cfg.visualizer.name = name  # one in its process by name
        cfg.dump(folder / f'{name}.py')
    return folder


def call(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', [tool.__file__, *map(str, arguments)])
    cli.run(tool.main)


@pytest.fixture(scope='module')
def backbone(folder):
    """Of a pre-training with DAT."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        config = folder / 'dat_mocov3_small.py'
        call(monkeypatch, train, config, '--work-dir', folder / 'run')
        call(monkeypatch, extract_backbone, config, folder / 'run/epoch_1.pth', folder / 'b.pth')
    return folder / 'b.pth'


@pytest.mark.parametrize('name', ['linear_probe_small', 'knn_small'])
def test_frozen_features_are_evaluated_on_corrupted_and_attacked_images(
    folder, backbone, monkeypatch, tmp_path, name
):
    config = folder / f'{name}.py'
    call(monkeypatch, train, config, '--work-dir', tmp_path,
         '--cfg-options', f'model.backbone.init_cfg.checkpoint={backbone}')
    weights = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    for key, value in torch.load(backbone, weights_only=True)['state_dict'].items():
        assert torch.equal(weights[key], value), key
    call(monkeypatch, test_robustness, config, tmp_path / 'epoch_1.pth',
         '--out', tmp_path / 'r.json', '--work-dir', tmp_path / 'evaluation',
         '--on', 'imagenet_c', 'fgsm', '--eps', '4/255',
         '--corruptions', 'contrast', '--severities', '2')
    result = Result.load(tmp_path / 'r.json')
    assert list(result.cells) == [CLEAN, ('contrast', 2), ('fgsm', '4/255')]
    assert result.identity.metric == 'accuracy/top1'


def test_a_bank_is_needed(folder, backbone, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, test_robustness, folder / 'knn_small.py', backbone,
             '--work-dir', tmp_path, '--on', 'fgsm')
    assert exit_.value.code == 2
    assert 'missing: head.features' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('views, found', [('1', 'found 1 in'), ('0', 'found none in')])
def test_too_few_views_are_one_sentence(folder, monkeypatch, capsys, tmp_path, views, found):
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, train, folder / 'dat_mocov3_small.py', '--work-dir', tmp_path / 'run',
             '--cfg-options', f'train_dataloader.dataset.pipeline.1.num_views={views}')
    assert exit_.value.code == 2 and not (tmp_path / 'run').exists()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith('error: expected 2 views of each image for MoCoV3') and found in said
