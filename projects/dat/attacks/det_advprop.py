"""Det-AdvProp's attack on detectors, in pixel space."""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from projects.dat.runtime.errors import ArgumentError

from .ascent import Ascent
from .result import AttackResult

SELECTIONS = ('batch', 'image')


class DetectionObjective(Protocol):
    """An objective that can be asked for some of the losses, and of one image."""

    def __call__(self, images: Tensor, losses: str, index: int | None = None) -> Tensor:
        """The 0-d loss to be raised.

        Args:
            images: (N, 3, H, W), RGB, 0..1; N is 1 where ``index`` is given.
            losses: Regular expression; the losses whose name it is found in are summed, with
                'loss' all of them.
            index: Which image of the batch this is, or None for the whole batch.
        """


class DetAdvPropAttack(Ascent):
    """The stronger of an attack on the classification and one on the boxes.

    Paper: Det-AdvProp, "Robust and Accurate Object Detection via Adversarial Learning"
    (https://arxiv.org/abs/2103.13886), equations 4 and 5. One candidate raises the classification
    loss, the other the box loss, each by projected gradient ascent on the pixels; kept is the one
    with the larger total loss. The paper has the model run through its auxiliary batch norm
    meanwhile, which is the caller's business, as is training on the result.

    No official training code exists and sizes of the perturbation are not stated where we could
    read them: **norm, eps, alpha, steps, random_start and selection defaults are ours** (what
    AdvProp, https://arxiv.org/abs/1911.09665, does for its small models: one step of one grey
    level).

    Costs 2 * ``steps`` objective calls with a backward pass and two without; with
    ``selection='image'`` the latter become 2N of one image each, the same work in smaller pieces.

    Norm: L2, Linf.

    Args:
        norm: 'L2' (per image) or 'Linf' (per pixel value). Defaults to 'Linf'.
        eps: Radius of the perturbation, in units of the 0..1 range. Defaults to 1 / 255.
        alpha: Size of one step, in the same units and norm. Defaults to 1 / 255.
        steps: Number of steps. Defaults to 1.
        random_start: Probability, drawn once per batch and candidate, of starting from random
            noise. Defaults to 0.
        selection: Keep one kind of candidate for the whole 'batch', or for each 'image' the one
            that is worse for it alone; a batch norm in training then sees one image at a time, and
            ranks with batches of different sizes make different numbers of calls. Defaults to
            'batch'.
        classification: Regular expression for the names of classification losses. Defaults to
            'cls'.
        box: The same for box losses. Defaults to 'bbox|iou|dfl|centerness|xy|wh'.
        loss_scale: Power of two on the loss in the backward pass, for float16. Defaults to 1024.

    Shape:
        - images: float32 (N, 3, H, W), RGB, 0..1.
        - objective: a :class:`DetectionObjective`.
        - mask: BoolTensor (N, 1, H, W), False where pixels must stay, or None.
        - result: :class:`AttackResult`, without reconstruction and tokens. Its stats further
          hold ``attack/classification_kept``, the share of images that got the candidate from the
          classification loss; ``attack/objective_before`` is the sum of both losses attacked. A
          batch with a loss or gradient that is not finite comes back unchanged.

    Raises:
        ArgumentError: An argument is unknown or out of range, or the input is unfit; it is a
            ValueError.
    """

    def __init__(
        self,
        norm: str = 'Linf',
        eps: float = 1 / 255,
        alpha: float = 1 / 255,
        steps: int = 1,
        random_start: float = 0.0,
        selection: str = 'batch',
        classification: str = 'cls',
        box: str = 'bbox|iou|dfl|centerness|xy|wh',
        loss_scale: float = 1024.0,
    ):
        if norm not in ('L2', 'Linf') or None in (eps, alpha):
            raise ArgumentError(
                f"DetAdvPropAttack needs a norm of 'L2' or 'Linf', an eps and an alpha, not "
                f'{norm!r}, {eps} and {alpha}'
            )
        if selection not in SELECTIONS:
            raise ArgumentError(
                f'selection must be one of {", ".join(SELECTIONS)}, not {selection!r}'
            )
        super().__init__(norm, eps, alpha, steps, random_start, loss_scale)
        self.selection = selection
        self.classification = classification
        self.box = box

    @torch.no_grad()
    def __call__(
        self, images: Tensor, objective: DetectionObjective, mask: Tensor | None = None
    ) -> AttackResult:
        """Attack a batch; shapes as in the class docstring."""
        mask = self._check(images, mask)
        climb = partial(self._climb, images, mask=mask, alpha=self.alpha, eps=self.eps)
        from_cls, cls_before, cls_skipped = climb(partial(objective, losses=self.classification))
        from_box, box_before, box_skipped = climb(partial(objective, losses=self.box))
        totals_cls = self._totals(from_cls, objective)
        totals_box = self._totals(from_box, objective)
        keep_cls = (totals_cls >= totals_box).view(-1, 1, 1, 1)
        finite = (totals_cls + totals_box).isfinite().all()
        skipped = cls_skipped | box_skipped | ~finite
        point = torch.where(skipped, images, torch.where(keep_cls, from_cls, from_box))
        stats = self._stats(images, point, self.alpha, cls_before + box_before, skipped)
        stats['attack/classification_kept'] = keep_cls.float().mean()
        return AttackResult(point, stats)

    def _totals(self, candidate: Tensor, objective: DetectionObjective) -> Tensor:
        """The total loss, of the batch (1,) or of each image (N,)."""
        devices = [candidate.device] if candidate.is_cuda else []
        # Both candidates meet the same dropout and drop path: these shall not decide.
        with torch.random.fork_rng(devices):
            if self.selection == 'batch':
                return objective(candidate, losses='loss').float().view(1)
            images = enumerate(candidate.split(1))
            totals = [objective(x, losses='loss', index=i).float() for i, x in images]
            return torch.stack(totals)
