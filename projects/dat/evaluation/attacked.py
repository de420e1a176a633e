"""Test images under attack: FGSM, PGD, and DAT's attack at evaluation."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from mmengine.config import Config
from mmengine.model import BaseModel

from projects.dat.attacks.base import Attack
from projects.dat.corruptions.transform import image_key
from projects.dat.runtime.seeds import hash_seed
from projects.dat.training.adversary import Adversary
from projects.dat.training.preprocessors import make_adversarial

from .evaluate import Trial
from .results import CLEAN, Cell
from .test_images import clean_loader, images_sha256


class Attacked:
    """The config's test images, attacked at several strengths.

    The model is in evaluation mode, in the attack as in the prediction, and the attack climbs its
    own training loss through the data preprocessor's normalization.

    Args:
        name: The set's, such as 'pgd'.
        attacks: By level.
        losses: See :class:`Adversary`: which of a detector's losses are attacked.
        seed: Of random starts.
        facts: What the figures depend on besides, for the identity.
    """

    def __init__(
        self, name: str, attacks: Mapping[str | float, Attack], losses: str, seed: int,
        facts: dict[str, str | int],
    ) -> None:
        self.name = name
        self.attacks = attacks
        self.losses = losses
        self.seed = seed
        self.facts = dict(facts, losses=losses, seed=seed)

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""
        return {self.name: dict(self.facts, images_sha256=images_sha256(cfg))}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The clean images, and the attacked ones at every level."""
        trials = {CLEAN: Trial(clean_loader(cfg))}
        for level, attack in self.attacks.items():
            attacked = partial(under_attack, attack=attack, losses=self.losses, seed=self.seed)
            trials[self.name, level] = Trial(clean_loader(cfg), attack=attacked)
        return trials


@contextmanager
def under_attack(model: BaseModel, attack: Attack, losses: str, seed: int) -> Iterator[None]:
    """Inside, what the model's ``test_step`` sees is attacked.

    Args:
        model: Not wrapped for data-parallel evaluation; in evaluation mode.
        attack: From ``projects.dat.attacks``.
        losses: See :class:`Adversary`.
        seed: With the images of a batch, decides on its random numbers.
    """
    plain = model.data_preprocessor
    adversary = SeededAdversary(attack, model, losses, seed=seed)
    model.data_preprocessor = make_adversarial(copy.copy(plain), assembly='replace', share=1.0)
    model.data_preprocessor.bind(adversary, evaluation=True)
    try:
        yield
    finally:
        model.data_preprocessor = plain


@dataclass
class SeededAdversary(Adversary):
    """An adversary whose random numbers follow from the images of the batch alone.

    Args:
        seed: Of the evaluation.
    """

    seed: int = 0

    def __call__(self, images, mask, to_inputs, data_samples):
        """Attack a batch."""
        keys = [image_key(sample.metainfo) for sample in data_samples]
        self.attack.seed(hash_seed(self.seed, *keys))
        return super().__call__(images, mask, to_inputs, data_samples)
