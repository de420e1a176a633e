"""What an evaluation is of."""

import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from projects.dat.evaluation.evaluate import identify
from projects.dat.runtime.errors import UserError
from tests.evaluation.bright_boxes import write_case, write_checkpoint


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp('bright'))


@pytest.mark.parametrize('nested', [False, True])
def test_weights_that_are_no_file_are_told_by_their_values(case, monkeypatch, nested):
    """A loader of MMEngine's may find or make them anywhere."""
    weights = dict(a=torch.arange(6.0).view(2, 3), b=torch.tensor(1), c=torch.ones(2).bfloat16())
    schemes = dict(CheckpointLoader._schemes)
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    found = dict(state_dict=weights) if nested else weights
    CheckpointLoader.register_scheme('made://', lambda filename, map_location: found, force=True)
    cfg = Config.fromfile(case[0])
    cfg.load_from = 'made://anywhere'

    def sha256():
        return identify(cfg, {}, 'coco/bbox_mAP').checkpoint_sha256

    before = sha256()
    weights['a'] = weights['a'].t().contiguous().t()
    assert sha256() == before
    for change in (
        dict(a=weights['a'] + 1), dict(a=weights['a'].reshape(3, 2)), dict(b=torch.tensor(1.0)),
        dict(d=weights['b']),
    ):
        kept = dict(weights)
        weights.update(change)
        assert sha256() != before
        weights.clear()
        weights.update(kept)
    assert sha256() == before


def test_a_file_is_told_by_its_bytes(case, tmp_path):
    cfg = Config.fromfile(case[0])
    found = []
    for file in (case[1], shutil.copy(case[1], tmp_path / 'copy.pth'),
                 write_checkpoint(tmp_path / 'other.pth', 100.0)):
        cfg.load_from = str(file)
        found.append(identify(cfg, {}, 'coco/bbox_mAP').checkpoint_sha256)
    assert found[0] == found[1] != found[2]
    cfg.load_from = str(tmp_path / 'missing.pth')
    with pytest.raises(UserError, match='missing.pth cannot be read as a file'):
        identify(cfg, {}, 'coco/bbox_mAP')
