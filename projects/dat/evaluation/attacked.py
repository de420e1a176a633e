"""Test images under attack: FGSM, PGD, and DAT's attack at evaluation."""

import copy
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import Tensor

from projects.dat.attacks.base import Attack
from projects.dat.corruptions.transform import image_key
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.seeds import hash_seed
from projects.dat.training.adversary import Adversary
from projects.dat.training.preprocessors import make_adversarial
from projects.dat.training.runner import pad_values

from .evaluate import Trial
from .ground_truth import loader_for_losses
from .results import CLEAN, Cell
from .test_images import clean_loader, images_sha256


class Attacked:
    """The config's test images, attacked at several strengths.

    The model predicts in evaluation mode, and the attack climbs the loss that it has there, through
    the data preprocessor's normalization.

    Args:
        name: The set's, such as 'pgd'.
        attacks: By level.
        losses: See :class:`Adversary`: which of a detector's losses are attacked.
        seed: Of random starts.
        facts: What the figures depend on besides, for the identity.

    Raises:
        UserError: ``losses`` is no regular expression.
    """

    def __init__(
        self, name: str, attacks: Mapping[str | float, Attack], losses: str, seed: int,
        facts: dict[str, str | int],
    ) -> None:
        self.name = name
        self.attacks = attacks
        self.losses = check_losses(losses)
        self.seed = seed
        self.facts = dict(facts, losses=losses, seed=seed)

    def data(self, cfg: Config) -> dict[str, dict[str, str | int]]:
        """What the figures depend on besides model and metric, for their identity."""
        return {self.name: dict(self.facts, images_sha256=images_sha256(cfg))}

    def trials(self, cfg: Config) -> dict[Cell, Trial]:
        """The clean images, and the attacked ones at every level.

        Raises:
            UserError: The test pipeline or the evaluator is unfit for an attack.
        """
        trials = {CLEAN: Trial(clean_loader(cfg))}
        for level, attack in self.attacks.items():
            loader = loader_for_losses(cfg)
            attacked = partial(
                under_attack, attack=attack, losses=self.losses, seed=self.seed,
                padding=pad_values(loader),
            )
            trials[self.name, level] = Trial(loader, attack=attacked)
        return trials


def check_losses(losses: str) -> str:
    """The expression that picks losses by name, if it is one; else a UserError."""
    try:
        re.compile(losses)
    except re.error as error:
        raise UserError(
            f"expected --losses to be a regular expression, such as 'cls', found {losses!r} "
            f'({error})'
        ) from None
    return losses


@contextmanager
def under_attack(
    model: BaseModel, attack: Attack, losses: str, seed: int, padding: Sequence
) -> Iterator['EvaluationAdversary']:
    """Inside, what the model's ``test_step`` sees is attacked, by the adversary that is given.

    Args:
        model: Not wrapped for data-parallel evaluation; in evaluation mode.
        attack: From ``projects.dat.attacks``.
        losses: See :class:`Adversary`.
        seed: With the images of a batch, decides on its random numbers.
        padding: What the test pipelines pad with; see ``pad_values`` of :class:`AdversarialMixin`.
    """
    plain = model.data_preprocessor
    if hasattr(attack, 'tokenizer'):
        attack.tokenizer.to(plain.device)
    adversary = EvaluationAdversary(copy.copy(attack), model, losses, seed=seed)
    model.data_preprocessor = make_adversarial(
        copy.copy(plain), assembly='replace', share=1.0, pad_values=padding
    )
    model.data_preprocessor.bind(adversary, evaluation=True)
    try:
        yield adversary
    finally:
        model.data_preprocessor = plain
    if adversary.skipped:
        MMLogger.get_current_instance().warning(
            f'{int(adversary.skipped)} batches were not attacked, as their loss or its gradient '
            'was not finite'
        )


@dataclass
class EvaluationAdversary(Adversary):
    """An adversary of a model in evaluation mode, for whom every batch is the first.

    All random numbers, also those of a detector's samplers, follow from the images of the batch
    alone, and are the same in every step of an attack: each climbs the same loss. A discrete attack
    finds its step size on every batch anew.

    Args:
        seed: Of the evaluation.

    Attributes:
        skipped: How many batches were not attacked, a 0-d tensor on the device once there are any.
        totals: Sums over attacked images of the attack's other stats, 0-d tensors on the device.
        attacked: How many images were attacked, a 0-d tensor on the device.
        images: How many images there were.
    """

    seed: int = 0
    skipped: Tensor | int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    attacked: Tensor | int = 0
    images: int = 0

    def __post_init__(self):
        super().__post_init__()
        self.first_state = copy.deepcopy(getattr(self.attack, 'controller', None))

    def __call__(self, images, mask, to_inputs, data_samples):
        """Attack a batch."""
        if self.first_state is not None:
            self.attack.controller = copy.deepcopy(self.first_state)
        keys = [image_key(sample.metainfo) for sample in data_samples]
        self.batch_seed = hash_seed(self.seed, *keys)
        self.attack.seed(self.batch_seed)
        self.measure = True
        result = super().__call__(images, mask, to_inputs, data_samples)
        skipped = result.stats['attack/skipped']
        self.skipped += skipped
        self.images += len(images)
        self.attacked += len(images) * (1 - skipped)
        for name in result.stats.keys() - {'attack/skipped'}:
            # The loss of a batch that was not attacked need not be finite.
            value = torch.where(skipped.bool(), 0, result.stats[name])
            self.totals[name] = self.totals.get(name, 0) + len(images) * value
        return result

    def means(self) -> dict[str, Tensor]:
        """Means over the attacked images of the attack's stats, and the share of the others."""
        means = {name: total / self.attacked for name, total in sorted(self.totals.items())}
        return means | {'attack/skipped': 1 - self.attacked / self.images}

    def compute_losses(self, inputs: Tensor, data_samples: list) -> dict:
        """The losses of the model as it predicts.

        Raises:
            UserError: The model has none in evaluation mode, or none that depends on pixels.
        """
        random.seed(self.batch_seed)
        np.random.seed(self.batch_seed)
        torch.manual_seed(self.batch_seed)
        if isinstance(self.model, BaseDetector):
            # Detectors and heads (FCOS, RepPoints, DINO) hand their loss other values in training
            # than they predict. Norms and dropout stay as they are in evaluation; isolation puts
            # these flags back.
            for module in self.model.modules():
                if hasattr(module, 'loss'):
                    module.training = True
        if getattr(self.model.data_preprocessor, 'pad_mask', False):
            self.model.data_preprocessor.pad_gt_masks(data_samples)  # else in training alone
        name = type(self.model).__name__
        try:
            losses = super().compute_losses(inputs, data_samples)
        except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
            raise UserError(
                f'the loss of {name} cannot be computed on test images, as an attack needs it '
                f'({type(error).__name__}: {error}): its test data may lack what training data '
                'has, or this model works out its loss in training only'
            ) from error
        terms = [term for v in losses.values() for term in (v if isinstance(v, list) else [v])]
        if torch.is_grad_enabled() and not any(term.requires_grad for term in terms):
            raise UserError(
                f'expected losses of {name} whose gradient reaches the pixels, which an attack '
                f'follows, found {", ".join(losses)} without one: evaluate this model without '
                'attacks'
            )
        return losses

    def option_of(self, pattern: str) -> str:
        """The option that the pattern comes from."""
        return '--losses'
