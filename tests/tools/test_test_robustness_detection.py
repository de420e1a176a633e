"""tools/test_robustness.py with a detector: under attack, and on COCO-O."""

import json
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.evaluation.summaries import DOMAINS
from projects.dat.runtime import cli
from tests.evaluation.bright_boxes import CLASSES, write_case
from tools.test_robustness import main


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bright')
    config, checkpoint = write_case(folder)
    for domain in DOMAINS:
        shutil.copytree(folder / 'data', folder / 'ood_coco' / domain)
    config.write_text(config.read_text().replace(
        'num_workers=2, persistent_workers=True', 'num_workers=0, persistent_workers=False'
    ))
    return config, checkpoint


@pytest.fixture
def run(case, tmp_path, monkeypatch):
    """Run the tool on the case."""

    def run(*arguments):
        command = [*case, '--work-dir', tmp_path, *arguments]
        monkeypatch.setattr(sys, 'argv', ['test_robustness.py', *map(str, command)])
        cli.run(main)
        return Result.load(tmp_path / 'robustness.json')

    return run


def test_attacks_and_coco_o_add_to_one_file(run, case, capsys):
    first = run('--on', 'fgsm', 'pgd', '--eps', '2/255', '64/255', '--steps', '2')
    levels = [(name, eps) for name in ('fgsm', 'pgd') for eps in ('2/255', '64/255')]
    assert set(first.cells) == {CLEAN, *levels}
    for name in ('fgsm', 'pgd'):
        assert first.value((name, '64/255')) < first.value((name, '2/255'))
    result = run('--on', f'coco_o={case[0].parent / "ood_coco"}')
    assert set(result.cells) == {*first.cells, *(('coco_o', domain) for domain in DOMAINS)}
    assert all(result.cells[cell] == first.cells[cell] for cell in first.cells)
    # The domains are copies of the clean images.
    assert {result.value(('coco_o', domain)) for domain in DOMAINS} == {result.value(CLEAN)}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run('--on', 'fgsm', '--losses', 'cls')
    assert 'losses of fgsm is loss and cls' in capsys.readouterr().err


def test_pictures_of_test_images(run, case, tmp_path):
    run('--on', 'coco_c', 'pgd', '--corruptions', 'fog', '--severities', '1', '3', '5',
        '--eps', '64/255', '--steps', '2', '--show', '2')
    data = json.loads((case[0].parent / 'data/annotations/instances_val2017.json').read_text())
    for i in range(2):
        with Image.open(tmp_path / 'pictures' / f'{i:03}_val2017_{i}.png') as picture:
            name, words = picture.text['Description'].removesuffix('.').split('. ')
            pixels = np.asarray(picture).astype(int)
        found = dict(panel.split(': ') for panel in words.split('; '))
        assert name == f'{i}.jpg'
        assert list(found) == ['ground truth', 'clean', 'fog 3', 'pgd 64/255']
        colors = Counter(
            CLASSES[box['category_id'] - 1] for box in data['annotations']
            if box['image_id'] == data['images'][i]['id']
        )
        truth = dict(part.split(' ')[::-1] for part in found['ground truth'].split(', '))
        assert truth == {color: str(count) for color, count in colors.items()}
        # On clean images the detector finds what there is.
        assert found['clean'] == found['ground truth']
    # Where there are no boxes, only corruption and attack change the image.
    truth, clean, fog, pgd = np.split(pixels[-60:-20, 8:], 4, axis=1)
    assert (truth == clean).all() and (fog != clean).mean() > 0.5 and (pgd != clean).any()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--on', 'coco_o=nowhere'], 'six domains of COCO-O in nowhere, but there is no sketch/'),
        (['--show', '-1'], 'expected --show to be a number of images.*--show -1 for clean, '),
        (['--on', 'fgsm', '--losses', '['], "--losses to be a regular expression.*found '['"),
        (['--on', 'fgsm', '--losses', 'mask'], "matches 'mask', found loss_cls, loss_bbox"),
        (['--on', 'fgsm', '--eps', '-1'], 'eps must be 0 or more'),
        (['--on', 'pgd', '--eps', 'four'], "expected a number such as 0.5 or 4/255, found 'four'"),
    ],
)
def test_mistakes_are_one_sentence(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert all(part in error for part in message.split('.*')) and 'Traceback' not in error
