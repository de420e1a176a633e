"""Short real runs: EfficientDet with DAT on a few drawn images."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, RUNNERS, init_default_scope

from tools.make_demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('data') / 'demo', train=4, val=2, size=128)


def config(data_root, work_dir, **options):
    cfg = Config.fromfile(ROOT / 'configs/dat_efficientdet_demo.py')
    cfg.merge_from_dict(
        {
            'train_dataloader.dataset.data_root': str(data_root),
            'train_dataloader.batch_size': 2,
            'val_dataloader.dataset.data_root': str(data_root),
            'val_evaluator.ann_file': f'{data_root}/annotations/instances_val2017.json',
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 1,
            'model.neck.num_stages': 1,
            # Dropout and drop path: random numbers in the model itself.
            'model.backbone.drop_path_rate': 0.2,
            'default_hooks.logger.interval': 1,
            'adversarial.log_interval': 1,
            # The fragment's own; the demo's half of two images is too few for batch norm.
            'adversarial.assembly': 'concat',
            'adversarial.share': 1.0,
            **options,
        }
    )
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.name}_{len(list(work_dir.parent.iterdir()))}'
    # A visualizer is one in its process by name; an earlier test's would draw into its own folder.
    cfg.visualizer.name = cfg.experiment_name
    return cfg


def saved(work_dir, epoch=2):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=True)


class Kill(Hook):
    """Ends the process's work in the first iteration of the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1:
            raise KeyboardInterrupt


EMA = dict(
    type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.2, update_buffers=True, priority=49
)


@pytest.fixture(scope='module')
def uninterrupted(data_root, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('uninterrupted')
    cfg = config(data_root, work_dir, custom_hooks=[EMA])
    RUNNERS.build(cfg).train()
    return work_dir


def test_a_killed_run_resumes_to_the_same_bits(data_root, uninterrupted, tmp_path):
    cfg = config(data_root, tmp_path, custom_hooks=[EMA])
    runner = RUNNERS.build(cfg)
    runner.register_hook(Kill())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    torch.manual_seed(999)  # a new process has other random states
    cfg = config(data_root, tmp_path, custom_hooks=[EMA])
    cfg.resume = True
    RUNNERS.build(cfg).train()
    expected, found = saved(uninterrupted), saved(tmp_path)
    assert_equal(found['state_dict'], expected['state_dict'])
    assert_equal(found['ema_state_dict'], expected['ema_state_dict'])
    controllers = [c['adversarial_training']['attack']['controller'] for c in (found, expected)]
    assert_equal(*controllers)
    assert 'random_states' in found


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_the_checkpoint_is_a_plain_efficientdets(uninterrupted):
    state_dict = saved(uninterrupted)['state_dict']
    assert not any('quantize' in key or 'encoder' in key for key in state_dict)
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(ROOT / 'configs/efficientdet_demo.py').model)
    model.load_state_dict({k: v for k, v in state_dict.items() if '.aux.' not in k}, strict=True)


def test_it_logs_and_draws_the_attack(uninterrupted):
    (log,) = uninterrupted.glob('*/*.log')
    text = log.read_text()
    for name in ('token_change', 'objective_before', 'step_norm', 'alpha', 'skipped'):
        assert f'attack/{name}: ' in text
    assert list(uninterrupted.glob('*/vis_data/vis_image/attack_*.png'))


DET_ADVPROP = {
    'adversarial.split_bn': 'aux',
    'adversarial.tokenizer': None,
    'adversarial.attack': dict(type='DetAdvPropAttack', _delete_=True),
}


@pytest.mark.parametrize(
    'options',
    [
        {'optim_wrapper.accumulative_counts': 2},
        {'adversarial.split_bn': 'aux'},
        {'adversarial.split_bn': None, 'adversarial.assembly': 'replace'},
        {'train_dataloader.batch_size': 1},
        {'adversarial.share': 0.5, 'adversarial.assembly': 'replace'},
        {'adversarial.attack.direction': 'random'},
        {
            'adversarial.tokenizer': None,
            'adversarial.attack': dict(
                type='PixelAttack', norm='Linf', eps=0.03, alpha=0.03, steps=1, _delete_=True
            ),
        },
        DET_ADVPROP,
        {**DET_ADVPROP, 'adversarial.attack.selection': 'image'},
    ],
    ids=[
        'accumulation', 'auxiliary batch norm', 'replace', 'batch of one', 'a share',
        'random direction', 'pixel attack', 'Det-AdvProp', 'Det-AdvProp per image',
    ],
)
def test_variants_train(data_root, tmp_path, options):
    options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 9, **options}
    RUNNERS.build(config(data_root, tmp_path, **options)).train()
    state_dict = saved(tmp_path, epoch=1)['state_dict']
    assert all(value.isfinite().all() for value in state_dict.values())
    assert any('.aux.' in k for k in state_dict) == (options.get('adversarial.split_bn') == 'aux')


@pytest.mark.parametrize('name', ['dat_retinanet_r18_512', 'dat_rtmdet_tiny_512'])
def test_other_detectors_train(data_root, tmp_path, name):
    """Their models, on the drawn images."""
    other = Config.fromfile(ROOT / f'configs/{name}.py')
    cfg = config(data_root, tmp_path, **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 9})
    cfg.model = other.model
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.pad_size_divisor = 128
    cfg.model.bbox_head.num_classes = 5
    RUNNERS.build(cfg).train()
    assert all(value.isfinite().all() for value in saved(tmp_path, 1)['state_dict'].values())


SCRIPT = """
import sys, hashlib
sys.path.insert(0, {root!r})
import projects.dat.register, torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
torch.set_num_threads(1)
cfg = Config.fromfile({cfg!r})
runner = RUNNERS.build(cfg)
runner.train()
digest = hashlib.sha256()
for key, value in sorted(runner.model.module.state_dict().items()):
    if 'running_' not in key:
        digest.update(value.numpy().tobytes())
# One string, hence one write: where Python does not buffer, each of several is one of its own, and
# those of two processes mix.
print(f'DIGEST {{runner.rank}} {{digest.hexdigest()}}\\n', end='', flush=True)
"""


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_two_processes_hold_equal_weights(data_root, tmp_path, norm):
    cfg = config(data_root, tmp_path / 'run')
    if norm == 'BN':
        for part in (cfg.model.backbone, cfg.model.neck, cfg.model.bbox_head):
            part.norm_cfg.type = norm
    cfg.merge_from_dict(
        {
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_cfg.val_interval': 9,
            'env_cfg.dist_cfg.backend': 'gloo',
            'launcher': 'pytorch',
            'model_wrapper_cfg': dict(
                type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
            ),
        }
    )
    cfg.dump(str(tmp_path / 'cfg.py'))
    (tmp_path / 'script.py').write_text(SCRIPT.format(root=str(ROOT), cfg=str(tmp_path / 'cfg.py')))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--master_port=0', '--rdzv-backend=c10d', '--rdzv-endpoint=localhost:0']
    result = subprocess.run(
        [*command, str(tmp_path / 'script.py')],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    digests = re.findall(r'DIGEST \d ([0-9a-f]{64})', result.stdout)
    assert len(digests) == 2, result.stderr[-3000:]
    assert digests[0] == digests[1]
    assert re.search(r'attack/token_change: 0\.\d*[1-9]', result.stdout + result.stderr)


class Recorder(Hook):
    """Keeps the loaded images and boxes of every iteration."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen += [image.clone() for image in data_batch['inputs']]
        self.seen += [x.gt_instances.bboxes.tensor.clone() for x in data_batch['data_samples']]


def test_methods_see_the_same_images(data_root, tmp_path):
    recorders = []
    for name in ('dat', 'plain'):
        (tmp_path / name).mkdir()
        cfg = config(data_root, tmp_path / name, **{'train_cfg.val_interval': 9})
        if name == 'plain':
            cfg.pop('adversarial'), cfg.pop('runner_type')
        runner = RUNNERS.build(cfg)
        recorders.append(Recorder())
        runner.register_hook(recorders[-1])
        runner.train()
    dat, plain = [recorder.seen for recorder in recorders]
    assert all(torch.equal(a, b) for a, b in zip(plain, dat, strict=True))
    # Drop path has drawn other amounts of numbers by then; the flips are the second epoch's own.
    half = len(dat) // 2
    first, second = dat[:half], dat[half:]
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
