import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from projects.dat.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for i in range(4):
        crop = skimage.data.astronaut()[i * 64 : i * 64 + 80, 100:180]
        Image.fromarray(crop).save(folder / f'{i}.png')
    return folder


def run(tmp_path, train, val, *options):
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/train_vqgan.py']
    command += [ROOT / 'configs/vqgan_fast_f8.py', '--train', train, '--val', val]
    command += ['--work-dir', tmp_path / 'run', *options, '--cfg-options']
    command += ['train_dataloader.batch_size=2', 'train_dataloader.dataset.size=32']
    command += ['val_dataloader.dataset.size=64', 'model.network.width=8']
    command += ['train_cfg.max_iters=4', 'train_cfg.val_interval=2']
    command += ['default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1']
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_trains_evaluates_and_exports(tmp_path, images):
    result = run(tmp_path, images, images)
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert 'psnr: ' in log and 'codes_used: ' in log
    path = tmp_path / 'run' / 'tokenizer.safetensors'
    assert f'wrote {path}' in result.stdout
    tokenizer = load_tokenizer(path)
    assert tokenizer.network.encoder.stem.out_channels == 8
    assert len(tokenizer.codebook) == 4096


def test_a_folder_without_images(tmp_path, images):
    result = run(tmp_path, tmp_path / 'nowhere', images)
    assert result.returncode == 2
    assert 'error: expected images' in result.stderr and str(tmp_path / 'nowhere') in result.stderr
    assert 'Traceback' not in result.stderr


def test_a_broken_image_names_itself(tmp_path, images):
    (images / '4.jpg').write_bytes(b'not an image')
    result = run(tmp_path, images, images)
    assert result.returncode == 2
    assert f'found {images / "4.jpg"}' in result.stderr.splitlines()[-1]
