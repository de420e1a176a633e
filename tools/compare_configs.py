"""The configs of a comparison's runs, for tools/compare.py: made, checked and written."""

import argparse
import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed

from projects.dat.evaluation.model_classes import is_classifier
from projects.dat.evaluation.results import Cell
from projects.dat.evaluation.test_sets import choose_sets, trials_of
from projects.dat.models.pretraining import backbone_of
from projects.dat.runtime import cli
from projects.dat.runtime.config import set_data_root, type_name
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing
from projects.dat.runtime.preflight.parts import build_model
from projects.dat.runtime.preflight.weights import check_fits
from projects.dat.training.runner import check_adversarial, check_model
from tools.test_robustness import check_show, options_of

CHECKPOINT = 'checkpoint.pth'  # in the folder of a run
BACKBONE = 'backbone.pth'


def initial_weights(seed: int, args: argparse.Namespace) -> Path:
    """Where the weights are that all runs of a seed start from, unless the config names some."""
    return (args.out / f'initial_seed{seed}.pth').resolve()


def make_config(fragment: str | None, run: Path, seed: int, args: argparse.Namespace) -> Config:
    """The plain config with the method's fragment and all that makes the runs comparable."""
    cfg = cli.read_config(args.config)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    for key in ('adversarial', 'runner_type') if 'adversarial' in cfg else ():
        cfg.pop(key, None)
    if fragment is not None:
        cfg.merge_from_dict(cli.read_config(fragment)._cfg_dict)
    found = cfg.get('adversarial') or {}
    there = {'adversarial.': found, 'adversarial.tokenizer.': found.get('tokenizer')}
    absent = tuple(prefix for prefix, value in there.items() if not value)
    options = args.cfg_options or {}
    cli.merge_options(cfg, {k: v for k, v in options.items() if not k.startswith(absent)})
    cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
    # The loader's random numbers depend on seed and epoch alone, whatever the method draws.
    cfg.train_dataloader.worker_init_fn = dict(type='seed_worker')
    cfg.train_dataloader.persistent_workers = False
    hooks = [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]
    if not any(hook and hook['type'] == 'RandomStateHook' for hook in hooks):
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='RandomStateHook')]
    if args.start_from is not None:
        cfg.load_from = str((args.start_from / f'seed{seed}' / CHECKPOINT).resolve())
    cfg.load_from = cfg.get('load_from') or str(initial_weights(seed, args))
    cfg.work_dir = str(run)
    return cfg


def make_probe_config(probe: Path, run: Path, seed: int, args: argparse.Namespace) -> Config:
    """The config of a classifier on the backbone of a run."""
    cfg = cli.read_config(str(probe))
    if not is_classifier(cfg) or 'backbone' not in cfg.model:
        raise UserError(
            f'expected the config of a classifier with a backbone for --probe, found {probe} with '
            f'the model {type_name(cfg.model)}: give one such as '
            'configs/selfsup/linear_probe_small.py'
        )
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    file = str((run / BACKBONE).resolve())
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=file, prefix='backbone')
    cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
    cfg.work_dir = str(run / probe.stem)
    return cfg


def check_run(cfg: Config, args: argparse.Namespace) -> None:
    """Look for all that can be amiss with a training now, rather than after the first one."""
    cfg = copy.deepcopy(cfg)
    if cfg.load_from in [str(initial_weights(seed, args)) for seed in args.seeds]:
        cfg.load_from = None  # about to be written
    if 'adversarial' in cfg:
        check_adversarial(cfg, load=True)
    cli.check_once(cfg, 'train')
    if 'adversarial' in cfg:
        check_model(cfg)


def check_probe(cfg: Config, pretraining: Config, args: argparse.Namespace) -> None:
    """The same for a classifier, whose backbone has to be the one that is pre-trained."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.init_cfg = None  # about to be written
    backbone, _ = backbone_of(build_model(pretraining), args.config)
    check_run(cfg, args)
    check_fits(build_model(cfg).backbone, backbone.state_dict(), f'one by {args.config}')


def check_evaluated(cfg: Config, args: argparse.Namespace) -> list[Cell]:
    """The same for the evaluation of what a training will give; its cells."""
    if not cfg.get('test_dataloader'):
        raise UserError(
            f'expected a test_dataloader in {cfg.filename}, found none: add one, or, for a '
            'self-supervised model, name a classifier on its backbone with --probe CONFIG'
        )
    cells = list(trials_of(cfg, choose_sets(cfg, args.on, options_of(args))))
    check_show(args.show, cells)
    cfg = copy.deepcopy(cfg)
    cfg.load_from = None  # what is tested will come from the training
    cli.check_once(cfg, 'test')
    return cells


def write_config(cfg: Config, file: Path) -> None:
    """Write a run's config, or check that the one that lies there is the same."""
    with replacing(file) as temporary:
        cfg.dump(temporary)
        if file.exists() and file.read_bytes() != temporary.read_bytes():
            raise UserError(
                f'{file.parent} holds a comparison with other settings than these: give the ones '
                f'of {file.name} there, or another folder with --out'
            )


def write_initial_weights(cfg: Config, file: Path) -> None:
    """Initialize the plain detector as MMEngine's Runner would, and save it."""
    # Its list of every parameter's origin is for a run's log file.
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    set_random_seed(cfg.randomness.seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    with replacing(file) as temporary:
        torch.save(dict(state_dict=model.state_dict()), temporary)
