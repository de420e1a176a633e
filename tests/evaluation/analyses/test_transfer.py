import copy

import numpy as np
import pytest
import torch
from PIL import Image

from projects.dat.evaluation.analyses import transfer
from projects.dat.evaluation.results import CLEAN
from projects.dat.runtime.errors import UserError


@pytest.fixture
def other(subject, tmp_path):
    """The same model."""
    return copy.deepcopy(subject.cfg)


def test_of_every_attack_and_model(subject, toy, other, tmp_path):
    seen = subject.measure(transfer.NoAttack())
    result = transfer.analyze(subject, toy, 0.2, dict(twin=other))
    own = subject.cfg.filename.split('/')[-1].removesuffix('.py')
    attacks = {attack for attack, _ in result.cells}
    assert set(result.cells) == {(a, m) for a in attacks for m in (own, 'twin')}
    for attack in attacks:
        # A copy of the attacked model errs as that does.
        first, second = (result.cells[attack, m].metrics for m in (own, 'twin'))
        assert first == pytest.approx(second, nan_ok=True)
    clean = result.cells[CLEAN[0], own].metrics
    if subject.metric.startswith('accuracy'):  # the detector's images are resized before
        assert clean[subject.metric] == seen[subject.metric]
        assert clean['attack/objective_after'] == pytest.approx(
            seen['attack/objective_after'], rel=1e-4)
    usual = result.cells['pgd 4/255', own].metrics
    assert usual['attack/objective_after'] > clean['attack/objective_after']


def test_images_are_written_as_they_were_attacked(subject):
    kept = []
    made = transfer.Made(subject, transfer.NoAttack())
    subject.attack(transfer.NoAttack(), kept.append)
    files = iter(made.targets.items())
    for batch in kept:
        for image, mask, sample in zip(batch.images, batch.mask, batch.samples, strict=True):
            file, target = next(files)
            pixels = torch.from_numpy(np.asarray(Image.open(file)) / 255).permute(2, 0, 1)
            height, width = pixels.shape[1:]
            assert mask.sum() == height * width  # without padding
            assert (pixels - image[:, :height, :width]).abs().max() <= 0.501 / 255
            if isinstance(target, int):
                assert target == int(sample.gt_label) and made.side == height == width
            else:
                (x, y, w, h), = (a['bbox'] for a in target)
                expected = sample.gt_instances.bboxes[0].tolist()
                assert [x, y, x + w, y + h] == pytest.approx(expected)
                assert made.side is None


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_models_of_other_classes(subject, toy, other):
    other.model.head.num_classes = 5
    with pytest.raises(UserError, match='classes of the attacked model in other, found 5'):
        transfer.analyze(subject, toy, 0.2, dict(other=other))
