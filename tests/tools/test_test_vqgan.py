import csv
import sys

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer import load_tokenizer
from tools.test_vqgan import main


def test_scores_are_those_of_the_tokenizer(tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    crops = [skimage.data.astronaut()[i : i + 96, 100:196] for i in (0, 200)]
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(folder / f'{i}.png')
    out = tmp_path / 'out'
    command = ['test_vqgan.py', 'fast_f8_8192', '--val', folder, '--size', 64, '--work-dir', out]
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    main()
    with open(out / 'validation.csv', newline='') as file:
        (row,) = csv.DictReader(file)
    images = torch.from_numpy(np.stack(crops)[:, 16:80, 16:80]).permute(0, 3, 1, 2) / 255
    tokenizer = load_tokenizer()
    mse = (tokenizer.reconstruct(images) - images).square().mean((1, 2, 3))
    assert float(row['psnr']) == pytest.approx((-10 * mse.log10()).mean().item(), abs=2e-3)
    used = len(tokenizer.tokenize(images).unique()) / len(tokenizer.codebook)
    assert float(row['tokens_used']) == pytest.approx(used, abs=1e-4)
    assert 'lpips' not in row
    assert len(list(out.rglob('reconstruction_0.png'))) == 1
    # The table, and nothing else.
    title, header, _, scores = capsys.readouterr().out.strip().splitlines()
    assert title == '2 images, 64 px' and header.split()[0] == 'tokenizer'
    assert scores.split()[:2] == ['fast_f8_8192', f'{float(row["psnr"]):.2f}']


def test_crops_too_small_for_lpips(tmp_path, monkeypatch):
    command = ['test_vqgan.py', 'fast_f8_8192', '--val', str(tmp_path), '--size', '8']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(UserError, match='--size must be at least 16 pixels, but is 8'):
        main()


def test_an_unknown_tokenizer(tmp_path, monkeypatch):
    command = ['test_vqgan.py', 'fast_f9', '--val', tmp_path, '--work-dir', tmp_path / 'out']
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    with pytest.raises(UserError, match="expected the name of a tokenizer .*'fast_f9'"):
        main()
