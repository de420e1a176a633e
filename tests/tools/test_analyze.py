import re
import sys

import pytest

from projects.dat.evaluation.results import Result
from projects.dat.runtime import cli
from tests.evaluation.analysis_case import write_classifier, write_detector, write_tokenizer
from tools.analyze import main, other_models


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A folder with a classifier, a detector and a tokenizer."""
    root = tmp_path_factory.mktemp('case')
    write_classifier(root / 'classifier')
    write_detector(root / 'detector')
    write_tokenizer(root / 'toy.safetensors')
    return root


@pytest.fixture
def run(case, tmp_path, monkeypatch):
    """Run the tool on the classifier or the detector."""

    def run(name, *arguments, model='classifier'):
        command = [name, case / model / 'config.py', case / model / 'model.pth', *arguments]
        command += ['--work-dir', tmp_path, '--tokenizer', case / 'toy.safetensors']
        monkeypatch.setattr(sys, 'argv', ['analyze.py', *map(str, command)])
        cli.run(main)
        return Result.load(tmp_path / f'analyses/{name}/result.json')

    return run


FEW = ['--alpha', '1', '--token-change', '0.1', '--eps', '1/255']


def test_some_images_and_their_folder(run, case, capsys):
    result = run('step_size', case / 'classifier/val', '--num-images', '2', *FEW)
    assert {found.num_images for found in result.cells.values()} == {2}
    out = capsys.readouterr().out
    assert '2 images; attacks turn the model from the class labels that the images have' in out
    assert 'On 2 clean images the loss is' in out and 'analyses/step_size' in out


def test_an_image_that_is_named_twice(run, case, capsys):
    image = sorted((case / 'detector/val2017').iterdir())[0]
    result = run('step_size', image, image.parent, image, *FEW, model='detector')
    count = len(list(image.parent.iterdir()))
    assert {found.num_images for found in result.cells.values()} == {count}


def test_another_checkpoint_of_the_same_config(case):
    config = str(case / 'classifier/config.py')
    assert list(other_models([config, 'b.pth', config, 'c.pth'], config)) == [
        'config of b.pth', 'config of c.pth']


def test_images_that_nobody_has_annotated(run, case, tmp_path, capsys):
    (case / 'detector/val2017/0.jpg').rename(tmp_path / 'new.jpg')
    run('step_size', tmp_path / 'new.jpg', *FEW, model='detector')
    (tmp_path / 'new.jpg').rename(case / 'detector/val2017/0.jpg')
    assert "from the model's own detections" in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['step_siz'], "argument NAME: invalid choice: 'step_siz' .choose from"),
        (['step_size', 'missing.jpg'], 'expected an image or a folder at missing.jpg'),
        (['step_size', '--alpha', '-1'], 'step size alpha must be 0 or more'),
        (['step_size', '--eps', 'four'], "a number such as 0.5 or 4/255, found 'four'"),
        (['step_size', '--losses', '('], '--losses to be a regular expression'),
        (['step_size', '--lpips', 'nowhere'], 'found no nowhere'),
        (['fid', '--num-images', '1'], 'at least 2 images for FID and KID'),
        (['step_size', '--seed', '-1'], 'seed must be at least 0'),
    ],
)
def test_mistakes(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and 'Traceback' not in error
