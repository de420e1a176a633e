"""What the analyses look at."""

import copy

import pytest

from projects.dat.attacks import DiscreteAttack, PixelAttack, TokenChangeController
from projects.dat.evaluation.analyses import (
    bn_statistics,
    colors,
    fid,
    frequency,
    matched,
    structure,
    transfer,
)
from projects.dat.evaluation.analyses.subject import Subject
from projects.dat.tokenizer import load_tokenizer
from tests.evaluation.analysis_case import write_classifier, write_detector, write_tokenizer


@pytest.fixture(scope='session')
def classifier(tmp_path_factory):
    """Config of a classifier, and the folder of its data."""
    root = tmp_path_factory.mktemp('classifier')
    return write_classifier(root), root


@pytest.fixture(scope='session')
def detector(tmp_path_factory):
    """Config of a detector, and the folder of its data."""
    root = tmp_path_factory.mktemp('detector')
    return write_detector(root), root


@pytest.fixture(params=['classifier', 'detector'])
def subject(request, tmp_path):
    """All test images of each."""
    cfg = copy.deepcopy(request.getfixturevalue(request.param)[0])
    cfg.work_dir = str(tmp_path)
    subject = Subject(cfg)
    subject.look_at([], None)
    return subject


@pytest.fixture(scope='session')
def toy(tmp_path_factory):
    """The file of a small tokenizer."""
    return write_tokenizer(tmp_path_factory.mktemp('toy') / 'toy.safetensors')


@pytest.fixture(autouse=True)
def few_attacks(monkeypatch):
    """Three, whose strengths need not be found, and rough strengths where they are."""

    def find(subject, source, rate):
        tokenizer = load_tokenizer(source)
        attacks = {
            matched.RECONSTRUCTION: DiscreteAttack(tokenizer, alpha=0.0, direction='random'),
            matched.DAT: DiscreteAttack(tokenizer, controller=TokenChangeController(rate)),
            matched.USUAL: PixelAttack('Linf', 4 / 255, 2 / 255, 2),
        }
        return attacks, dict(rate=str(rate))

    for module in (bn_statistics, colors, fid, frequency, structure, transfer):
        monkeypatch.setattr(module, 'find_attacks', find)
    monkeypatch.setattr(matched, '_BISECTIONS', 1)
