"""An attack aimed at a model in training."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from projects.dat.attacks import AttackResult, DetAdvPropAttack, isolate
from projects.dat.attacks.base import Attack
from projects.dat.runtime.errors import UserError

from .split_bn import route_batch_norm, set_route, split_batch_norms


@dataclass
class Adversary:
    """Runs an attack against the loss of a model, without leaving a trace in the model.

    Args:
        attack: From ``projects.dat.attacks``.
        model: The unwrapped model; its ``forward(inputs, data_samples, mode='loss')`` is attacked,
            in the mode (training or evaluation) that it is in.
        losses: Regular expression; of the model's losses those whose name it is found in count.
            Names differ by head: ``loss`` is all of them, ``cls`` usually the classification,
            ``bbox|iou`` the boxes. Defaults to 'loss'.

    Attributes:
        stats: Of the last attack, 0-d tensors on the device.
        keep_result: Set it to have the next result kept.
        measure: Set it to have the loss after the next attack among the stats, as
            ``attack/objective_after``, and its rise from where the first gradient was taken, as
            ``attack/rise``: one more forward pass.
        kept: (images, mask, data_samples, AttackResult) of the last call with ``keep_result``.
    """

    attack: Attack
    model: nn.Module
    losses: str = 'loss'
    keep_result: bool = False
    measure: bool = False
    kept: tuple | None = None

    def __post_init__(self):
        self.batch_norms = split_batch_norms(self.model)
        # AdvProp: adversarial images are the auxiliary batch norm's business, also when made.
        auxiliary = any(norm.split == 'aux' for norm in self.batch_norms)
        self.attack_route = 'aux' if auxiliary else 'main'
        self.checkpointed = [m for m in self.model.modules() if getattr(m, 'with_cp', False)]
        # Those of MMEngine's key activation_checkpointing.
        self.wrapped = [
            m for m in self.model.modules() if hasattr(vars(m).get('forward'), '__wrapped__')
        ]
        self.stats = {}

    def __call__(
        self,
        images: Tensor,
        mask: Tensor,
        to_inputs: Callable[[Tensor, slice], Tensor],
        data_samples: list | None,
    ) -> AttackResult:
        """Attack a batch.

        Args:
            images: (N, 3, H, W), RGB, 0..1.
            mask: BoolTensor (N, 1, H, W), False where pixels must stay.
            to_inputs: From images to the model's inputs, differentiable; the slice says which of
                the batch they are.
            data_samples: The targets; the model gets copies, as some heads edit them.
        """

        def objective(
            candidate: Tensor, losses: str = self.losses, index: int | None = None
        ) -> Tensor:
            which = slice(None) if index is None else slice(index, index + 1)
            samples = copy.deepcopy(data_samples and data_samples[which])
            inputs = to_inputs(candidate, which)
            loss = total_loss(
                self.compute_losses(inputs, samples), losses, self.option_of(losses)
            )
            if candidate.requires_grad and not loss.requires_grad:
                # Such as the second view of MoCo, which goes through the momentum encoder alone.
                raise UserError(
                    f'expected a loss of {type(self.model).__name__} that depends on the attacked '
                    'images, found one without a gradient to them: name other losses in '
                    'adversarial.losses, or other views in adversarial.views'
                )
            return loss

        with isolate(self.model), route_batch_norm(self.batch_norms, self.attack_route):
            # Activation checkpoints as MMDetection and MMEngine make them refuse
            # torch.autograd.grad; isolate puts them back.
            for module in self.checkpointed:
                module.with_cp = False
            for module in self.wrapped:
                module.forward = vars(module)['forward'].__wrapped__
            result = self.attack(images, objective, mask)
            if self.measure:
                self.measure = False
                with torch.no_grad():
                    after = objective(result.images).float()
                result.stats['attack/objective_after'] = after
                before = result.stats.get('attack/objective_before')
                # Det-AdvProp's attack sums losses of its own choice.
                if before is not None and not isinstance(self.attack, DetAdvPropAttack):
                    result.stats['attack/rise'] = after - before
        self.stats = result.stats
        if self.keep_result:
            self.keep_result = False
            self.kept = (images, mask, copy.deepcopy(data_samples), result)
        return result

    def compute_losses(self, inputs: Tensor, data_samples: list | None) -> dict:
        """The model's losses by name; ``data_samples`` are its own to edit."""
        return self.model(inputs=inputs, data_samples=data_samples, mode='loss')

    def option_of(self, pattern: str) -> str:
        """The option that a pattern comes from: Det-AdvProp's attack has two of its own."""
        for name in ('classification', 'box'):
            if getattr(self.attack, name, None) == pattern:
                return f'adversarial.attack.{name}'
        return 'adversarial.losses'

    def route(self, clean: int, adversarial: int) -> None:
        """Tell the batch norms what the next training batch consists of, in images."""
        set_route(self.batch_norms, 'split', (clean, adversarial))

    def release(self) -> None:
        """Let the batch norms be plain ones again."""
        set_route(self.batch_norms, 'main')


def total_loss(losses: dict, pattern: str, option: str = 'adversarial.losses') -> Tensor:
    """Sum of the chosen losses, as MMEngine's ``parse_losses`` sums all of them.

    Args:
        losses (dict): What the model gives.
        pattern (str): Regular expression; those whose name it is found in count.
        option (str): Where the pattern stands, for the message. Defaults to 'adversarial.losses'.

    Raises:
        UserError: It is found in none.
    """
    terms = []
    for name, value in losses.items():
        if 'loss' in name and re.search(pattern, name):
            terms += value if isinstance(value, list) else [value]
    if not terms:
        raise UserError(
            f'expected losses whose name matches {pattern!r}, found {", ".join(losses)}: set '
            f"{option} to a regular expression that is found in one of them, such as 'loss' for all"
        )
    return sum(term.mean() for term in terms)
