"""A model under attack on some images: what every analysis looks at."""

import contextlib
import copy
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from .images import choose_images, read_targets, set_targets


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
        result: Of the attack on them; an attack on tokens always has its reconstruction.
        samples: Their targets; boxes are in pixels of ``images``.
        predictions: What the model gives for the attacked images; boxes are in pixels of the file.
        first: How many images came before.
    """

    images: Tensor
    mask: Tensor
    result: AttackResult
    samples: list
    predictions: list
    first: int


Observe = Callable[[Batch], None]


class Subject:
    """A model in evaluation mode, and the images that it looks at.

    Args:
        cfg: The model's, with ``load_from`` and ``work_dir``; it is copied.
        losses: See :class:`Adversary`: which of the model's losses are attacked. Defaults to all.
        seed: Of all random numbers. Defaults to 0.

    Attributes:
        cfg: The config; its test data are the images.
        metric: What the evaluator's main figure is called.
        targets: Where the images' targets come from, in words.
        num_images: How many images there are.
        batches: How many batches of the config's test batch size they make.

    Raises:
        UserError: The config is unfit, ``losses`` no regular expression, or the seed negative.
    """

    def __init__(self, cfg: Config, losses: str = 'loss', seed: int = 0) -> None:
        if seed < 0:
            raise UserError(f'the seed must be at least 0, but is {seed}')
        self._given = cfg
        self.cfg = copy.deepcopy(cfg)
        self.losses = check_losses(losses)
        self.seed = seed
        self.metric = default_metric(cfg)
        self._runner = None

    def look_at(self, images: Sequence[str], count: int | None) -> None:
        """Look at images from now on, with the targets that can be had.

        Args:
            images: Files and folders; none for the config's test images.
            count: At most so many of them, evenly spread; None for all.

        Raises:
            UserError: Images, checkpoint or test pipeline are unfit.
        """
        files = choose_images(self.cfg, images, count)
        self.targets = set_targets(self.cfg, files, self._folder, self._predict)
        self._load_data()

    def look_at_given(self, targets: Mapping[str, Any], side: int | None) -> None:
        """Look at images with given targets; see ``read_targets``."""
        self.cfg = copy.deepcopy(self._given)
        read_targets(self.cfg, targets, self._folder, side)
        self._load_data()

    @property
    def _folder(self) -> Path:
        return Path(self.cfg.work_dir, 'analyses')

    def _load_data(self) -> None:
        loader = loader_for_losses(self.cfg)
        self._padding = pad_values(loader)
        self._loader = self.runner.build_dataloader(loader)
        self.evaluator = self.runner.build_evaluator(self.cfg.test_evaluator)
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
    def attack(
        self, attack: Attack, observe: Observe = lambda batch: None, batches: int | None = None
    ) -> Metrics:
        """Attack images and let the model predict.

        Args:
            attack: From ``projects.dat.attacks``.
            observe: Called with every batch.
            batches: How many, the first ones; None for all.

        Returns:
            Means over the images of what the attack measured.
        """
        first = 0
        with self.under(attack) as adversary:
            for data in itertools.islice(self._loader, batches):
                adversary.keep_result = True
                predictions = self.model.test_step(data)
                images, mask, samples, result = adversary.kept
                if result.reconstruction is None and hasattr(attack, 'tokenizer'):
                    found = attack.tokenizer.reconstruct(images)  # a random direction needs none
                    result.reconstruction = torch.where(mask, found, images)
                observe(Batch(images, mask, result, samples, predictions, first))
                first += len(images)
        return {name: float(value) for name, value in adversary.means().items()}

    def measure(self, attack: Attack, observe: Observe = lambda batch: None) -> Metrics:
        """Attack all images as :meth:`attack` does, and evaluate.

        Returns:
            What the evaluator gives, and the means of what the attack measured.
        """

        def process(batch: Batch) -> None:
            self.evaluator.process(batch.predictions)
            observe(batch)

        strength = self.attack(attack, process)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            metrics = self.evaluator.evaluate(self.num_images)
        return {**with_metric(metrics, self.metric, False, self.runner), **strength}

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
