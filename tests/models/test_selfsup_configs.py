"""The self-supervised configs: plain ones and those with DAT differ in the attack alone."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from projects.dat.runtime.preflight.parts import build_model

FOLDER = Path(__file__).resolve().parents[2] / 'configs/selfsup'
NAMES = sorted(file.stem[len('dat_') :] for file in FOLDER.glob('dat_*.py'))
SMALL = [name for name in NAMES if name.endswith('_small')]


def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def test_three_methods_large_and_small():
    assert NAMES == [
        'mocov3_resnet50_in1k', 'mocov3_small', 'mocov3_vit-b16_in1k', 'simclr_resnet50_in1k',
        'simclr_small', 'simsiam_resnet50_in1k', 'simsiam_small',
    ]


@pytest.mark.parametrize('name', NAMES)
def test_dat_adds_an_attack_on_the_second_view(name):
    cfg, plain = load(f'dat_{name}'), load(name)
    adversarial = cfg.pop('adversarial')
    assert adversarial.attack.type == 'DiscreteAttack' and tuple(adversarial.views) == (1,)
    assert cfg.pop('runner_type') == 'AdversarialRunner' and 'runner_type' not in plain
    assert cfg._cfg_dict == plain._cfg_dict


@pytest.mark.parametrize('name', SMALL)
def test_small_runs_differ_in_their_method_alone(name):
    cfg, first = load(name), load(SMALL[0])
    for key in ('train_dataloader', 'train_cfg', 'param_scheduler', 'randomness'):
        assert cfg[key] == first[key]
    assert cfg.model.backbone == first.model.backbone
    assert cfg.optim_wrapper.optimizer == first.optim_wrapper.optimizer
    build_optim_wrapper(build_model(cfg), cfg.optim_wrapper)


def test_simsiams_predictor_keeps_its_rate():
    cfg = load('simsiam_small')
    (hook,) = [hook for hook in cfg.custom_hooks if hook.type == 'SimSiamHook']
    assert hook.lr == cfg.optim_wrapper.optimizer.lr
    model = build_model(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    fixed = {id(p) for group in groups if group.get('fix_lr') for p in group['params']}
    assert fixed == {id(p) for p in model.head.predictor.parameters()}


@pytest.mark.parametrize('name', ['linear_probe_small', 'knn_small'])
def test_probes_take_the_small_backbone_as_it_is_pre_trained(name):
    cfg, pretrained = load(name), load(SMALL[0])
    assert cfg.model.data_preprocessor == pretrained.model.data_preprocessor
    backbone = build_model(cfg).train().backbone
    expected = build_model(pretrained).backbone.state_dict()
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {
        k: v.shape for k, v in expected.items()}
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m.training for m in backbone.modules() if hasattr(m, 'running_mean'))
