"""Adversarial examples in the space of tokens."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.dat.runtime.errors import ArgumentError

from .ascent import Ascent
from .controller import TokenChangeController
from .perturbations import Size
from .result import AttackResult, Objective

VARIANTS = ('paper', 'released')


class Tokenizer(Protocol):
    """What the attack needs of a tokenizer; images are float32 (N, 3, H, W), RGB, 0..1."""

    downscale: int

    def tokenize(self, images: Tensor) -> Tensor:
        """Images to LongTensor (N, ceil(H / downscale), ceil(W / downscale))."""

    def detokenize(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens to images, cropped to ``size`` = (H, W)."""


class DiscreteAttack(Ascent):
    """Discrete adversarial examples: the tokens that hurt the model, decoded again.

    Paper: "Enhance the Visual Representation via Discrete Adversarial Training"
    (https://arxiv.org/abs/2209.07735). Q(x) encodes an image, takes the nearest codebook entries
    and decodes them. The whole of Q counts as the identity in the backward pass (straight-through),
    so no gradient runs through the tokenizer.

    Variants, which do differ:
        - 'paper', Algorithm 1: the gradient g is taken at Q(x), and x_adv = Q(x + step(g)). With
          alpha 0 no token changes. Further steps take the gradient at Q(x + delta).
        - 'released', the authors' code (https://github.com/alibaba/easyrobust,
          examples/imageclassification/imagenet/dat/main.py; there eps = alpha = 0.1, one step,
          random_start = 0.8): PGD in pixels around Q(x), then x_adv = Q(Q(x) + delta). As Q is not
          idempotent, some tokens differ from x's even with alpha 0.

    In both, moved pixels are clamped to 0..1 before Q. Tokens count as changed against those of x.

    Cost: ``steps`` objective calls, each one forward and one backward pass to the image. Tokenizer
    passes (encode and decode): 2, and in the 'paper' variant 1 more per further step. The default
    is thus one objective call and two tokenizer passes; the first batch under a controller adds
    eight encodings.

    The tokenizer runs outside autocast and owns its precision; the objective runs in the caller's
    autocast. Nothing waits for the device. A batch whose loss or gradient is not finite becomes its
    reconstruction Q(x), or x with ``residual``, with ``attack/skipped`` 1. The objective's effects
    on the model are not the attack's concern: see :func:`isolate`.

    Norm: L2, Linf or raw (alpha * g, the paper's formula as printed). The normalised L2 step is the
    released code's and the default.

    Args:
        tokenizer: See :class:`Tokenizer`.
        variant: 'paper' or 'released'. Defaults to 'paper'.
        norm: 'L2', 'Linf' or 'raw'. Defaults to 'L2'.
        eps: Radius of the perturbation in the same norm (raw: L2), which bounds every step, or None
            for no bound. Defaults to None.
        alpha: Fixed step size; for L2 the length of the whole image's step, in units of the 0..1
            range. An image that the mask leaves only a part of steps sqrt(part) as far, so that its
            pixels move like those of a whole one. Defaults to None: the controller adapts it.
        steps: Number of steps. Defaults to 1.
        random_start: 'released' only: probability, drawn once per batch, of starting from Gaussian
            noise of L2 length eps (Linf: uniform in -eps..eps). Defaults to 0.
        direction: 'gradient', or 'random': steps along Gaussian noise and never asks the objective.
            It is the control for what the gradient contributes. Defaults to 'gradient'.
        residual: 'paper' only: what the tokenizer loses is added again, x + D(z') - D(z) with the
            tokens z of x and z' of the moved image. An image of which no token changes is then
            itself, and the first gradient is taken at x. Ours. Defaults to False.
        controller: Keeps the share of changed tokens at its target by adapting alpha; 'paper' only.
            Defaults to None: with ``alpha=None`` a ``TokenChangeController()``, which holds the
            published rate of 3.8 %.
        loss_scale: Power of two on the loss in the backward pass, for float16. Defaults to 1024.

    Shape:
        - images: float32 (N, 3, H, W), RGB, 0..1.
        - objective: maps such images to a 0-d loss, which the attack raises.
        - mask: BoolTensor (N, 1, H, W), False where pixels must stay (padding), or None. Step norms
          are over the allowed pixels; a token counts where any of its pixels is allowed.
        - result: :class:`AttackResult`; with ``residual``, its reconstruction is x itself.

    Raises:
        ArgumentError: An argument is unknown or out of range, or the input is unfit; it is a
            ValueError.

    Example:
        >>> attack = DiscreteAttack(tokenizer)
        >>> result = attack(images, lambda x: F.cross_entropy(model(x), labels))
        >>> result.images, result.stats['attack/token_change']
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        variant: str = 'paper',
        norm: str = 'L2',
        eps: float | None = None,
        alpha: float | None = None,
        steps: int = 1,
        random_start: float = 0.0,
        direction: str = 'gradient',
        residual: bool = False,
        controller: TokenChangeController | None = None,
        loss_scale: float = 1024.0,
    ):
        super().__init__(norm, eps, alpha, steps, random_start, loss_scale, direction)
        if variant not in VARIANTS:
            raise ArgumentError(f'variant must be one of {", ".join(VARIANTS)}, not {variant!r}')
        if variant == 'paper' and random_start:
            raise ArgumentError("random_start belongs to variant='released': leave it out")
        if variant == 'released' and residual:
            raise ArgumentError("residual belongs to variant='paper': leave it out")
        if variant == 'released' and alpha is None:
            # Q(Q(x)) alone may change more tokens than the target: alpha would sink to nothing.
            raise ArgumentError("variant='released' needs a fixed alpha, such as 0.1")
        if controller is not None and alpha is not None:
            raise ArgumentError(
                f'either alpha={alpha} fixes the step size or a controller adapts it: leave one out'
            )
        self.tokenizer = tokenizer
        self.variant = variant
        self.residual = residual
        self.controller = controller
        if alpha is None and controller is None:
            self.controller = TokenChangeController()

    @torch.no_grad()
    def __call__(
        self, images: Tensor, objective: Objective, mask: Tensor | None = None
    ) -> AttackResult:
        """Attack a batch; shapes as in the class docstring."""
        mask = self._check(images, mask)
        part = self.perturbation.part(mask)
        radius = None if self.eps is None else self.eps * part
        allowed = F.max_pool2d(mask.float(), self.tokenizer.downscale, ceil_mode=True)[:, 0].bool()

        def decode(tokens: Tensor) -> Tensor:
            with torch.autocast(images.device.type, enabled=False):
                decoded = self.tokenizer.detokenize(tokens, size=tuple(images.shape[2:]))
            decoded = decoded if lost is None else (decoded + lost).clamp_(0, 1)
            return torch.where(mask, decoded, images)

        def changed_by(point: Tensor) -> tuple[Tensor, Tensor]:
            """The point's tokens, and which of them differ from those of the images."""
            found = self._encode(point)
            return found, (found != tokens) & allowed

        def share(changed: Tensor) -> Tensor:
            return changed.sum() / allowed.sum().clamp(min=1)

        def calibrate(move: Callable[[Size], Tensor], skipped: Tensor) -> Size:
            return part * self.controller.calibrate(
                lambda size: share(changed_by(move(size * part))[1]), skipped
            )

        lost = None
        tokens = self._encode(images)
        if self.residual:
            lost = images - decode(tokens)
        # A random direction looks at no reconstruction.
        blind = self.variant == 'paper' and self.direction == 'random'
        reconstruction = images if self.residual else None if blind else decode(tokens)
        alpha = self.alpha if self.controller is None else self.controller.alpha(images.device)
        climb = partial(self._climb, objective=objective, mask=mask, alpha=alpha * part, eps=radius)
        if self.variant == 'paper':
            base = images
            uncalibrated = self.controller is not None and not self.controller.calibrated
            point, before, skipped = climb(
                base,
                view=lambda point: decode(self._encode(point)),
                first_view=reconstruction,
                calibrate=calibrate if uncalibrated else None,
            )
            if self.controller is not None:
                alpha = self.controller.alpha(images.device)
        else:
            base = reconstruction
            point, before, skipped = climb(base)
        stats = self._stats(base, point, alpha, before, skipped)
        adversarial, changed = changed_by(point)
        adversarial, changed = torch.where(skipped, tokens, adversarial), changed & ~skipped
        stats['attack/token_change'] = share(changed)
        if self.controller is not None:
            self.controller.update(stats['attack/token_change'], skipped)
        return AttackResult(decode(adversarial), stats, reconstruction, changed)

    def state_dict(self) -> dict:
        """The controller's state, if there is one."""
        return {} if self.controller is None else {'controller': self.controller.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Restore what :meth:`state_dict` gave; ArgumentError if one side has no controller."""
        if ('controller' in state) != (self.controller is not None):
            has, lacks = ('state', 'attack') if self.controller is None else ('attack', 'state')
            raise ArgumentError(
                f'the {has} has a step-size controller and the {lacks} has none: resume with the '
                'attack settings that the state was saved with'
            )
        if self.controller is not None:
            self.controller.load_state_dict(state['controller'])

    def _encode(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return self.tokenizer.tokenize(images)
