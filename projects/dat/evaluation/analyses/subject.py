"""A model under attack on some images: what every analysis looks at."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import Tensor

from projects.dat.attacks import AttackResult
from projects.dat.attacks.base import Attack
from projects.dat.runtime import preflight
from projects.dat.runtime.errors import UserError
from projects.dat.training.runner import pad_values

from ..attacked import EvaluationAdversary, check_losses, under_attack
from ..evaluate import load, with_metric
from ..ground_truth import loader_for_losses
from ..results import Metrics
from ..test_images import clean_loader, images_sha256
from ..test_sets import default_metric
from .images import choose_images, set_targets


class NoAttack(Attack):
    """Leaves images as they are: what is measured under it is the clean images' own."""

    def __init__(self) -> None:
        super().__init__(steps=1, loss_scale=1.0)

    def __call__(self, images, objective, mask=None) -> AttackResult:
        """The images."""
        return AttackResult(images, {'attack/skipped': images.new_zeros(())})


@dataclass
class Batch:
    """A batch of images under attack.

    Args:
        images: (N, 3, H, W), RGB, 0..1.
        mask: BoolTensor (N, 1, H, W), False on padding.
        result: Of the attack on them.
        samples: Their targets; boxes are in pixels of ``images``.
        first: How many images came before.
    """

    images: Tensor
    mask: Tensor
    result: AttackResult
    samples: list
    first: int


Observe = Callable[[Batch], None]


class Subject:
    """A model in evaluation mode, with images and targets.

    Args:
        cfg: The model's, with ``load_from`` and ``work_dir``; its test data become the images.
        images: Files and folders; none for the config's test images.
        count: At most so many of them; None for all.
        losses: See :class:`Adversary`: which of the model's losses are attacked.
        seed: Of all random numbers.

    Attributes:
        metric: What the evaluator's main figure is called.
        targets: Where the targets come from, in words.
        num_images: How many images there are.
        batches: How many batches of the config's test batch size they make.

    Raises:
        UserError: Images, config, or checkpoint are unfit.
    """

    def __init__(
        self, cfg: Config, images: Sequence[str], count: int | None, losses: str, seed: int
    ) -> None:
        if seed < 0:
            raise UserError(f'the seed must be at least 0, but is {seed}')
        self.cfg = cfg
        self.losses = check_losses(losses)
        self.seed = seed
        self.metric = default_metric(cfg)
        self._runner = None
        files = choose_images(cfg, images, count)
        folder = Path(cfg.work_dir, 'analyses')
        self.targets = set_targets(cfg, files, folder, self._predict)
        loader = loader_for_losses(cfg)
        self._padding = pad_values(loader)
        self._loader = self.runner.build_dataloader(loader)
        self.evaluator = self.runner.build_evaluator(cfg.test_evaluator)
        self.evaluator.dataset_meta = getattr(self._loader.dataset, 'metainfo', None)
        self.num_images = len(self._loader.dataset)
        self.batches = len(self._loader)

    @property
    def runner(self) -> Runner:
        """With the model, its weights loaded."""
        if self._runner is None:
            preflight.check(self.cfg, 'test')
            # A Runner writes its config down, which the labels of many images would burden.
            data = dict(test_dataloader=None, test_evaluator=None, test_cfg=None)
            self._runner = RUNNERS.build(Config({**self.cfg.to_dict(), **data}))
            load(self._runner)
            self._runner.model.eval()
        return self._runner

    @property
    def model(self) -> torch.nn.Module:
        """The model."""
        return self.runner.model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.data_preprocessor.device

    def facts(self) -> dict[str, str | int]:
        """What every figure depends on besides the model, for a result's identity."""
        facts = dict(targets=self.targets, losses=self.losses, seed=self.seed)
        return facts | dict(images_sha256=images_sha256(self.cfg))

    @torch.no_grad()
    def measure(self, attack: Attack, observe: Observe = lambda batch: None) -> Metrics:
        """Attack all images.

        Args:
            attack: From ``projects.dat.attacks``.
            observe: Called with every batch.

        Returns:
            What the evaluator gives, and the means over all images of what the attack measured.
        """
        first = 0
        with self.under(attack) as adversary:
            for data in self._loader:
                adversary.keep_result = True
                outputs = self.model.test_step(data)
                self.evaluator.process(outputs, data)
                images, mask, samples, result = adversary.kept
                observe(Batch(images, mask, result, samples, first))
                first += len(images)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            metrics = self.evaluator.evaluate(self.num_images)
        metrics = with_metric(metrics, self.metric, False, self.runner)
        strength = {name: float(value) for name, value in adversary.means().items()}
        return {**metrics, **strength}

    def under(self, attack: Attack) -> contextlib.AbstractContextManager[EvaluationAdversary]:
        """Inside, what the model's ``test_step`` sees is attacked."""
        return under_attack(self.model, attack, self.losses, self.seed, self._padding)

    @torch.no_grad()
    def _predict(self, cfg: Config) -> list:
        loader = self.runner.build_dataloader(clean_loader(cfg))
        MMLogger.get_current_instance().info(
            "predicting, as no targets are known of %d images", len(loader.dataset)
        )
        return [sample for data in loader for sample in self.model.test_step(data)]
