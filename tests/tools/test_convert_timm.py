import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.preflight.parts import build_model
from tools.convert_timm import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def convert(tmp_path, monkeypatch):
    def convert(content, *options):
        torch.save(content, tmp_path / 'in.pth')
        command = ['convert_timm.py', tmp_path / 'in.pth', tmp_path / 'out/out.pth', *options]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        main()

    return convert


def test_the_config_that_it_names_takes_the_checkpoint(convert, tmp_path, capsys):
    weights = timm.create_model('resnet50').state_dict()
    convert(dict(state_dict=weights))
    out = tmp_path / 'out/out.pth'
    *_, tool, config, checkpoint = capsys.readouterr().out.split()
    assert (tool, checkpoint) == ('tools/test.py', str(out))
    model = build_model(Config.fromfile(ROOT / config))
    model.load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)
    assert torch.equal(model.head.fc.weight, weights['fc.weight'])


@pytest.mark.parametrize(
    'options, message',
    [
        ((), "in timm's layout, found keys such as features.weight: .* --arch"),
        (('--arch', 'resnet50'), 'found 1 and among them features.weight, which has no place'),
    ],
)
def test_another_model(convert, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        convert({'features.weight': torch.ones(2)}, *options)
    assert not (tmp_path / 'out').exists()


def test_a_mistake_is_one_sentence(tmp_path):
    command = [sys.executable, ROOT / 'tools/convert_timm.py', 'missing.pth', 'out.pth']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and not list(tmp_path.iterdir())
    assert result.stderr.startswith('error: the checkpoint, missing.pth, does not exist: ')
    assert len(result.stderr.splitlines()) == 1
