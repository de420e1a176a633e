import re
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

import projects.dat.register  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A checkpoint with random weights and two photographs."""
    folder = tmp_path_factory.mktemp('visualize')
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs/dat_efficientdet_demo.py')
    torch.manual_seed(0)
    meta = dict(dataset_meta=dict(classes=cfg.classes))
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), folder / 'c.pth')
    for name in ('astronaut', 'coffee'):
        Image.fromarray(getattr(skimage.data, name)()[:200, :300]).save(folder / f'{name}.png')
    return folder


def run(files, *arguments, config='dat_efficientdet_demo'):
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/visualize_attack.py']
    command += [ROOT / f'configs/{config}.py', *arguments, '--out', files / 'out.png']
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=files)


def test_images_in_grid_out(files):
    result = run(files, 'c.pth', 'astronaut.png', 'coffee.png')
    assert result.returncode == 0, result.stderr[-3000:]
    change = float(re.search('attack/token_change: (.*)', result.stdout)[1])
    assert change == pytest.approx(0.038, abs=0.02)  # the controller's target, found in one call
    # Two rows of five cells of 128 pixels, twice as large, a frame of 4 around each; the titles.
    width, height = Image.open(files / 'out.png').size
    assert width == 5 * 260 + 4 and 0 < height - (2 * 260 + 4) < 100


@pytest.mark.parametrize(
    'arguments, config, message',
    [
        (['c.pth', 'missing.png'], 'dat_efficientdet_demo', 'missing.png'),
        (['missing.pth', 'coffee.png'], 'dat_efficientdet_demo', 'missing.pth'),
        (['c.pth', 'coffee.png'], 'efficientdet_512', 'has no key adversarial'),
        (['c.pth', 'coffee.png'], 'dat_retinanet_r18_512', 'is of another model'),
    ],
)
def test_mistakes(files, arguments, config, message):
    result = run(files, *arguments, config=config)
    assert result.returncode == 2
    assert message in result.stderr and 'Traceback' not in result.stderr
