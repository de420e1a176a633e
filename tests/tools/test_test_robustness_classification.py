"""tools/test_robustness.py with a classifier and test sets of images of their own."""

import re
import shutil
import sys
from collections import Counter

import pytest
from mmengine.runner import TestLoop as Loop
from PIL import Image

from projects.dat.evaluation.model_classes import WNIDS
from projects.dat.evaluation.results import CLEAN, Result
from projects.dat.runtime import cli
from tests.evaluation.bright_boxes import write_case as write_detector
from tests.evaluation.color_labels import write_case, write_image
from tools import test_robustness as tool

SOME = range(0, 1000, 5)
"""The labels of 200 classes; no neighbor of one is among them."""


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """All sets as their authors distribute them.

    Of every ten classes six are guessed, two are the second guess after a class that is not in A
    and R, two the second after one that is.
    """
    root = tmp_path_factory.mktemp('sets')

    def write(file, label):
        kind = label // 5 % 10
        others = (label + 1) % 1000, (label + 5) % 1000
        guess = (label, 0) if kind < 6 else (others[0] if kind < 8 else others[1], label)
        write_image(root / file, *guess)

    for label in SOME:
        write(f'imagenet-a/{WNIDS[label]}/0.jpg.png', label)
        write(f'imagenet-r/{WNIDS[label]}/art_0.png', label)
    (root / 'imagenet-a/README.txt').write_text('kept by the authors')
    for label, wnid in enumerate(WNIDS):
        write(f'imagenetv2-matched-frequency-format-val/{label}/x.png', label)
        write(f'sketch/{wnid}/sketch_0.PNG', label)
        write(f'stylized/val/{wnid}/0.png', label)
    for i in range(20):
        write(f'DAmageNet/ILSVRC2012_val_{i:08}.png', 5 * i)
    lines = [f'ILSVRC2012_val_{i:08}.png {5 * i}\n' for i in range(20)]
    (root / 'val_damagenet.txt').write_text(''.join(lines))
    for label in (3, 9):
        write(f'mine/{WNIDS[label]}/deeper/{label}.png', label)
    return root


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Config and checkpoint; the config's data is not there."""
    return write_case(tmp_path_factory.mktemp('case'))


@pytest.fixture
def evaluate(case, tmp_path, monkeypatch):
    """Run the tool on sets and give its result."""

    def run(*sets, config=case[0], checkpoint=case[1], out=tmp_path / 'result.json', options=()):
        command = [config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out]
        command += ['--on', *sets, *options]
        monkeypatch.setattr(sys, 'argv', ['test_robustness.py', *map(str, command)])
        tool.main()
        return Result.load(out)

    return run


@pytest.fixture
def mistake(evaluate, capsys):
    """Run the tool and give the sentence that it ends with."""

    def run(*sets, **kwargs):
        with pytest.raises(SystemExit) as exit_:
            cli.run(lambda: evaluate(*sets, **kwargs))
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith('error: ')]
        assert exit_.value.code == 2 and len(errors) == 1 and lines[-1] == errors[0]
        return errors[0]

    return run


def test_all_sets_without_the_configs_own_images(evaluate, sets, case, capsys):
    assert not (case[0].parent / 'data').exists()
    names = {
        'imagenet_a': 'imagenet-a', 'imagenet_r': '', 'imagenet_v2': '', 'stylized': 'stylized',
        'imagenet_sketch': 'sketch', 'damagenet': '', 'own': 'mine',
    }
    result = evaluate(*(f'{name}={sets / path}' for name, path in names.items()))
    # Among the 200 classes, the second guess counts where the first is none of them.
    expected = dict(imagenet_a=0.8, imagenet_r=0.8, damagenet=0.6, own=1.0)
    assert {name for name, _ in result.cells} == set(names)
    for name in names:
        assert result.value((name, 0)) == pytest.approx(expected.get(name, 0.6)), name
    assert result.cells['imagenet_a', 0].num_images == 200
    assert result.cells['imagenet_v2', 0].num_images == 1000
    assert result.cells['imagenet_v2', 0].metrics['accuracy/top2'] == pytest.approx(1)
    out = capsys.readouterr().out
    assert 'Other sets (accuracy/top1 x 100)' in out and 'mCE' not in out
    assert result.identity.data['imagenet_a'].keys() == {'images_sha256'}


def test_the_cells_of_a_run_that_was_cut_off_are_kept(evaluate, sets, tmp_path, monkeypatch):
    asked = [f'imagenet_a={sets}', f'damagenet={sets}', str(sets / 'mine')]
    expected = evaluate(*asked, out=tmp_path / 'expected.json')
    assert list(expected.cells) == [('damagenet', 0), ('imagenet_a', 0), ('mine', 0)]
    original, calls = Loop.run, Counter()

    def run(loop):
        calls['run'] += 1
        if calls['run'] == 2:
            raise KeyboardInterrupt
        return original(loop)

    monkeypatch.setattr(Loop, 'run', run)
    with pytest.raises(KeyboardInterrupt):
        evaluate(*asked)
    assert list(Result.load(tmp_path / 'result.json').cells) == [('imagenet_a', 0)]
    assert evaluate(*asked) == expected and calls['run'] == 2 + 2
    # Other sets are added.
    assert set(evaluate(f'imagenet_r={sets}').cells) == {*expected.cells, ('imagenet_r', 0)}


def test_a_set_of_other_images_is_not_added(evaluate, mistake, sets, tmp_path):
    shutil.copytree(sets / 'mine', tmp_path / 'mine')
    evaluate(tmp_path / 'mine')
    write_image(tmp_path / f'mine/{WNIDS[9]}/more.png', 9)
    assert 'images_sha256 of mine is' in mistake(tmp_path / 'mine')


def test_beside_the_configs_own_images(evaluate, sets, tmp_path):
    """Ten classes, whose names the test data gives; labels are not ImageNet's."""
    config, checkpoint = write_case(tmp_path, classes=3)
    for label, name in enumerate(('cat', 'dog', 'owl')):
        for i in range(2):
            write_image(tmp_path / f'data/val/{name}/{i}.png', label if i else 1)
    for name, label in (('dog', 1), ('owl', 1)):
        write_image(tmp_path / f'own=x/{name}/0.png', label)
    result = evaluate(tmp_path / 'own=x', 'imagenet_c', config=config, checkpoint=checkpoint,
                      options=['--corruptions', 'fog', '--severities', '5'])
    assert set(result.cells) == {CLEAN, ('fog', 5), ('own=x', 0)}
    assert result.value(CLEAN) == pytest.approx(4 / 6) and result.value(('own=x', 0)) == 0.5
    alone = evaluate(f'cats={tmp_path}/own=x', config=config, checkpoint=checkpoint,
                     out=tmp_path / 'alone.json')
    assert set(alone.cells) == {('cats', 0)}


def test_pictures_of_test_images(evaluate, tmp_path):
    config, checkpoint = write_case(tmp_path, classes=3)
    for name, label in {'cat': 0, 'dog': 0, 'owl': 2}.items():
        write_image(tmp_path / f'data/val/{name}/0.png', label)
    evaluate('imagenet_c', config=config, checkpoint=checkpoint,
             options=['--corruptions', 'shot_noise', '--severities', '1', '--show', '2'])
    words = {}
    for file in sorted((tmp_path / 'work/pictures').iterdir()):
        with Image.open(file) as picture:
            words[file.name] = picture.text['Description']
    assert list(words) == ['000_cat_0.png', '001_dog_0.png']
    assert words['000_cat_0.png'].startswith('0.png. clean: cat 0.60; shot_noise 1: ')
    assert words['001_dog_0.png'].startswith('0.png. clean: cat 0.60 (wrong); shot_noise 1: ')


def copied(sets, tmp_path, name):
    return shutil.copytree(sets / name, tmp_path / name)


@pytest.mark.parametrize(
    'name, folder, change, message',
    [
        ('imagenet_a', 'imagenet-a', lambda x: shutil.rmtree(x / WNIDS[5]),
         r'expected 200 class folders in .*, found 199: give imagenet_a .*imagenet-a\.tar'),
        ('imagenet_r', 'imagenet-r', lambda x: (x / WNIDS[1]).mkdir(),
         r'expected 200 class folders in .*, found 201: .*imagenet-r\.tar'),
        ('imagenet_a', 'imagenet-a', lambda x: (x / 'n1').mkdir(),
         "has a folder such as 'n1', which is no class"),
        ('imagenet_a', 'imagenet-a', lambda x: next((x / WNIDS[5]).iterdir()).unlink(),
         f'images .*in every class folder of .*, found none in {WNIDS[5]}'),
        ('imagenet_r', 'imagenet-a', lambda x: None, 'write imagenet_a=.*, or rename it'),
        ('imagenet_sketch', 'imagenet-a', lambda x: None,
         r'expected 1000 class folders in .*, found 200: .*HaohanWang/ImageNet-Sketch'),
        ('imagenet_v2', 'imagenet-a', lambda x: None,
         '200 folders such as .*called 0, 1, .*vaishaal/ImageNetV2'),
        ('stylized', 'imagenet-a', lambda x: None, '1000 class .*rgeirhos/Stylized-ImageNet'),
        ('imagenet_a', 'imagenet-a', shutil.rmtree, 'does not exist: give imagenet_a'),
        ('imagenet_a', 'imagenet-a', lambda x: [shutil.rmtree(y) for y in x.glob('n*')],
         r'expected a folder for each class in .*, found none'),
        ('own', 'mine', lambda x: (x / 'n1').mkdir(), 'images .*found none in n1'),
        ('own', 'mine', lambda x: write_image(x / 'n1/x.png', 0), "'n1', which is no class"),
        ('own', 'mine', shutil.rmtree, 'does not exist: give own'),
        ('own', 'mine', lambda x: [shutil.rmtree(y) for y in x.iterdir()], 'for each class in'),
        ('damagenet', 'DAmageNet', lambda x: None, r'the list val_damagenet.txt in .*pami'),
        ('damagenet', 'DAmageNet', lambda x: (x / 'val_damagenet.txt').write_text('x.png 4'),
         r'1 of 1 images of .* are not in .*, such as x\.png'),
        ('damagenet', 'DAmageNet', lambda x: (x / 'val_damagenet.txt').write_text('x.png'),
         r"line 1 of .* is 'x\.png', not an image and a label of 0 to 999"),
        ('damagenet', 'DAmageNet', lambda x: (x / 'val_damagenet.txt').write_text('x.png 1000'),
         "line 1 of .* is 'x.png 1000'"),
        ('damagenet', 'DAmageNet', lambda x: (x / 'val_damagenet.txt').write_text('../x.png 3'),
         r'\.\./x\.png'),
        ('damagenet', 'DAmageNet', lambda x: (x / 'val_damagenet.txt').write_text(''),
         'lists no images'),
    ],
)
def test_layouts_that_do_not_fit(
    mistake, sets, tmp_path, monkeypatch, name, folder, change, message
):
    monkeypatch.setattr(tool.cli, 'check_once', lambda *_: pytest.fail('the model was built'))
    place = copied(sets, tmp_path, folder)
    change(place)
    assert re.search(message, mistake(f'{name}={place}'))


@pytest.mark.parametrize(
    'asked, message',
    [
        (['imagenet_a'], r'imagenet_a needs its images: write imagenet_a=PATH .*imagenet-a\.tar'),
        (['damagenet='], 'damagenet needs its images: .*pami'),
        (['imagnet_a'], r"'imagnet_a' is no test set for a classifier \(did you mean 'imagenet_a'"),
        (['nothing'], "'nothing' is no .*: choose among fgsm, pgd, .*reconstruction, imagenet_c, "
                      'imagenet_a, .*damagenet, or a folder of class folders'),
        (['fgsm=/data'], "fgsm attacks the config's test images and takes no path, found /data"),
        (['coco_c'], 'coco_c is not for a classifier, .*choose among fgsm'),
        (['SETS/imagenet-a'], 'imagenet-a is too much like the test set imagenet_a: write '
                              'imagenet_a=PATH'),
        (['fog=SETS/mine'], 'fog is too much like the test set fog'),
        (['clean=SETS/mine'], 'too much like the test set clean'),
        (['SETS/mine', 'mine=SETS/mine'], 'each test set once, found mine 2 times'),
        (['SETS/missing'], 'missing does not exist: give missing a folder with class folders'),
        (['imagenet_a=SETS', 'pgd'], 'data.* does not exist: .*--data-root PATH'),
        (['imagenet_c'], 'data.* does not exist: .*--data-root PATH'),
    ],
)
def test_sets_that_cannot_be_had(mistake, sets, asked, message):
    asked = [text.replace('SETS', str(sets)) for text in asked]
    assert re.search(message, mistake(*asked))


def test_sets_of_other_images_are_not_shown(mistake, sets):
    assert '--show 3 for imagenet_a' in mistake(f'imagenet_a={sets}', options=['--show', '3'])


def test_sets_of_the_other_task(mistake, sets, tmp_path):
    config, checkpoint = write_detector(tmp_path)
    for asked, message in (
        (f'imagenet_a={sets}', 'imagenet_a is not for a detector'),
        ('imagenet_c', 'imagenet_c is not for a detector, .*choose among fgsm, .*, coco_c'),
        (sets / 'mine', 'is no test set for a detector'),
        ('coco_d', r"is no test set for a detector \(did you mean 'coco_"),
    ):
        found = mistake(asked, config=config, checkpoint=checkpoint)
        assert re.search(message, found)


def test_sets_of_other_classes(mistake, sets, tmp_path):
    config, checkpoint = write_case(tmp_path, classes=3)
    files = dict(config=config, checkpoint=checkpoint)
    # Then what labels mean is known from the test data, which is not there.
    assert 'does not exist' in mistake(sets / 'mine', **files)
    for label, name in enumerate(('cat', 'dog', 'owl')):
        write_image(tmp_path / f'data/val/{name}/0.png', label)
    for name in ('imagenet_a', 'damagenet'):
        assert f"{name} has ImageNet's classes, but" in mistake(f'{name}={sets}', **files)
    assert 'which is no class of the model, whose 3 classes are called cat, dog' in mistake(
        sets / 'mine', **files)
