from mmengine.config import Config
from mmengine.runner import Runner

from projects.dat.runtime import compat


def test_functions_of_an_inherited_loader_get_no_scope(tmp_path):
    """As a config that inherits mmpretrain::simsiam/... has them."""
    (tmp_path / 'c.py').write_text("_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32_mocov2.py'")
    loader = Config.fromfile(tmp_path / 'c.py').train_dataloader
    assert loader.collate_fn._scope_ == 'mmpretrain'
    loader.update(dataset=[1, 2, 3, 4], batch_size=2, num_workers=0, persistent_workers=False)
    built = Runner.build_dataloader(loader)
    assert [batch.tolist() for batch in built] and built.batch_size == 2
    assert loader.collate_fn._scope_ == 'mmpretrain'  # the config stays as it is


def test_it_is_done_once():
    before = Runner.build_dataloader
    compat.install()
    assert Runner.build_dataloader is before
