"""MMEngine's own checkpoints resume with ``weights_only`` left on, and nothing else gets in."""

import functools
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.utils.data import DataLoader, default_collate


class ToyModel(BaseModel):
    """A line through points."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x, y, mode='tensor'):
        return dict(loss=(self.line(x) - y).square().mean())


def make_runner(work_dir, epochs: int, resume: bool = False) -> Runner:
    points = [dict(x=torch.tensor([float(x)]), y=torch.tensor([2.0 * x])) for x in range(4)]
    return Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(points, batch_size=2, collate_fn=default_collate),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        resume=resume,
        experiment_name=f'{work_dir.name}_{epochs}_{resume}')


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    torch.manual_seed(0)
    whole = make_runner(tmp_path / 'whole', epochs=3)
    whole.train()

    torch.manual_seed(0)
    make_runner(tmp_path / 'cut', epochs=2).train()
    resumed = make_runner(tmp_path / 'cut', epochs=3, resume=True)
    resumed.train()

    assert resumed.iter == whole.iter == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    losses = [runner.message_hub.get_scalar('train/loss').data for runner in (whole, resumed)]
    assert np.array_equal(losses[0], losses[1])


@pytest.mark.parametrize('value', [
    np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True),
    np.arange(3), np.ones((2, 2), dtype=np.float16), np.array([7], dtype=np.uint32),
], ids=repr)
def test_numbers_of_numpy(tmp_path, value):
    torch.save(dict(value=value), tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)['value']
    assert type(loaded) is type(value) and loaded.dtype == value.dtype
    assert np.array_equal(loaded, value)


@pytest.mark.parametrize('core', ['core', '_core'])
def test_numbers_of_another_numpy(tmp_path, core):
    path = tmp_path / 'a.pth'
    torch.save(np.float64(0.5), path, _use_new_zipfile_serialization=False)
    written = np.float64.__reduce__(np.float64())[0].__module__.encode()
    assert written in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(written, f'numpy.{core}.multiarray'.encode()))
    assert torch.load(path, weights_only=True) == 0.5


class Reduces:
    """Pickles as a call that a malicious file might ask for."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('payload', [
    Reduces(eval, '1'),
    Reduces(getattr, HistoryBuffer, '__init__'),
    Reduces(getattr, np.ndarray, 'tofile'),
    np.array([{}], dtype=object),
], ids=['eval', 'private attribute', 'foreign attribute', 'objects'])
@pytest.mark.parametrize('load', [
    functools.partial(torch.load, weights_only=True), CheckpointLoader.load_checkpoint,
], ids=['torch', 'mmengine'])
def test_other_content_is_refused(tmp_path, payload, load):
    path = str(tmp_path / 'a.pth')
    torch.save(dict(payload=payload), path)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        load(path)
