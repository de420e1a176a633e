"""Runs that continue with the random numbers they would have had."""

import os
import random

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS

from projects.dat.runtime.seeds import hash_seed


def get_random_state() -> dict:
    """States of the global generators of Python, NumPy, torch and all CUDA devices.

    Tensors and plain numbers only, so that a checkpoint holding it loads with ``weights_only``.
    """
    version, internal, gauss_next = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return dict(
        python=(version, internal, gauss_next),
        # torch has no uint32: the same bits as int32.
        numpy=(name, torch.from_numpy(keys.view(np.int32).copy()), position, has_gauss, cached),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def set_random_state(state: dict) -> None:
    """Restore what :func:`get_random_state` gave."""
    version, internal, gauss_next = state['python']
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.cpu().numpy().view(np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state['cuda']])


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Makes the random states of training a part of the checkpoint.

    At the end of each training epoch every rank's states are gathered, and at the start of the next
    one they are restored, whether validation drew numbers in between or the run was killed and
    resumed. Training counted in iterations has one epoch; its checkpoints hold rank 0's states at
    the moment of saving.

    Where training is counted in epochs, loader workers are seeded from (seed, epoch) alone, see
    :func:`seed_worker`: runs with the same seed that differ in the method, whose models draw
    different amounts of random numbers, see the same images with the same augmentations.
    """

    priority = 'NORMAL'

    def __init__(self):
        self._states = None

    def before_train_epoch(self, runner) -> None:
        """Go on from the end of the last epoch."""
        if self._states is not None and get_rank() < len(self._states):
            set_random_state(self._states[get_rank()])
        # A checkpoint within the epoch holds the states of its own moment.
        self._states = None
        seed = hash_seed(runner.seed, runner.epoch)
        runner.train_dataloader.generator = torch.Generator().manual_seed(seed)

    def after_train_epoch(self, runner) -> None:
        """Remember where this epoch ended; CheckpointHook runs after this."""
        self._states = all_gather_object(get_random_state())

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the states, by rank."""
        checkpoint['random_states'] = self._states or [get_random_state()]

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the states over, when resuming."""
        if runner._resume:
            self._states = checkpoint.get('random_states')


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a loader worker from torch's seed of this worker and epoch, and the rank.

    torch draws it from the loader's generator whenever the workers start, and
    :class:`RandomStateHook` seeds that generator each epoch: each epoch gets other random
    augmentations (MMEngine's default repeats the first epoch's) and a resumed run gets those of an
    uninterrupted one. It takes ``persistent_workers=False``, since workers that live on are not
    seeded again. Training counted in iterations starts its workers once, from torch's global
    generator.
    """
    # MMEngine seeds the main processes of all ranks alike.
    seed = (torch.initial_seed() + 1_000_003 * int(os.environ.get('RANK', 0))) % 2**32
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
