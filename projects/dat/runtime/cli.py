"""What the tools share: arguments into configs, checks before a run, mistakes as sentences."""

import argparse
import contextlib
import ctypes
import logging
import os
import os.path as osp
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction

from . import preflight
from .config import set_data_root
from .errors import UserError, leave, sentence
from .registries import explain


class Options(DictAction):
    """``KEY=VALUE ...``; anything else is one sentence."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Parse the values."""
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} expects KEY=VALUE, but got {value!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError):  # unbalanced brackets, dicts
            parser.error(
                f'{option_string} cannot read {" ".join(values)}: write lists as "[a,b]" and '
                'tuples as "(a,b)"; a dict can only be written in the config'
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share, named as MMDetection names them."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--data-root',
        metavar='PATH',
        help='where the data is: sets data_root of every data set, and the evaluators follow',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='change entries of the config, e.g. train_cfg.max_epochs=3 key="[a,b]" (no spaces)',
    )
    add_runtime(parser)


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of tools that load tokenizers and run in several processes."""
    parser.add_argument(
        '--offline',
        action='store_true',
        help='never download a tokenizer; say where to put its file instead',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how processes are started; tools/dist_*.sh set it',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='for launchers')


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the shared arguments to it.

    Raises:
        UserError: The config or a ``--cfg-options`` entry cannot be read.
    """
    cfg = read_config(args.config)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    merge_options(cfg, args.cfg_options)
    apply_runtime(cfg, args)
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def apply_runtime(cfg: Config, args: argparse.Namespace) -> None:
    """Apply :func:`add_runtime`'s arguments to the config, in place, and to this process.

    Raises:
        UserError: The processes were not started by the launcher.
    """
    if args.offline:
        os.environ['DAT_OFFLINE'] = '1'  # load_tokenizer reads it, in workers and ranks too
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch needs processes started by torchrun, but RANK is not set: use '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    cfg.launcher = args.launcher
    if args.launcher != 'none' and not torch.cuda.is_available():
        cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})  # NCCL is for GPUs only
        # MMEngine would hand each process the GPU of its rank.
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def read_config(file: str) -> Config:
    """Read a config.

    Raises:
        UserError: It is missing or cannot be read.
    """
    if not osp.isfile(file):
        configs = Path(__file__).parents[3] / 'configs'
        alike = [osp.relpath(p) for p in configs.rglob('*.py') if p.name == osp.basename(file)]
        cure = alike[0] if alike else 'one of configs/*.py'
        raise UserError(f'the config {file} does not exist: give {cure}')
    try:
        return Config.fromfile(file)
    except Exception as error:  # a config is a program: anything may go wrong in it
        raise UserError(
            f'the config {file} cannot be read: {type(error).__name__}: {error}'
        ) from error


def merge_options(cfg: Config, options: dict | None) -> None:
    """Apply ``--cfg-options``, in place.

    Raises:
        UserError: An entry does not fit the config.
    """
    try:
        cfg.merge_from_dict(options or {})
    except (AssertionError, KeyError, TypeError) as error:
        raise UserError(f'--cfg-options does not fit {cfg.filename}: {error}') from None


def check_once(cfg: Config, mode: str, new_head: bool = False) -> dict | None:
    """Run :func:`preflight.check` in one process of each machine.

    The others get None and go on to the process group, where they wait for it.
    """
    if int(os.environ.get('LOCAL_RANK', 0)):
        return None
    return preflight.check(cfg, mode, new_head)


def run(main: Callable[[], None]) -> None:
    """Run a tool; for a mistake of the user, print one sentence and exit with status 2.

    Taken for such mistakes: :class:`UserError`, also from a loader's worker process, and what
    registries refuse.
    """
    # What the pure layers report, such as downloads.
    logger = logging.getLogger('projects.dat')
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler())
    logging.raiseExceptions = False  # a log file on a full disk must not bury the sentence
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=_give_back_memory)
    try:
        main()
    except Exception as error:
        message = sentence(error) if isinstance(error, UserError) else explain(error)
        if message is None:
            raise
        leave(message)


def _give_back_memory() -> None:
    """Let a loader's worker not hold on to what its parent has freed but glibc kept.

    The parent writes there again, and each worker would keep the old pages: gigabytes where
    MALLOC_TRIM_THRESHOLD_ is large.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
