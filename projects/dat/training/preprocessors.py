"""Data preprocessors that put adversarial images into the batch: one mechanism for three tasks."""

import copy
import weakref
from collections.abc import Sequence

import torch
from mmdet.models.data_preprocessors import (
    BoxInstDataPreprocessor,
    DetDataPreprocessor,
    TrackDataPreprocessor,
)
from mmengine.registry import MODELS
from mmpretrain.models.utils.data_preprocessor import (
    ClsDataPreprocessor,
    SelfSupDataPreprocessor,
    TwoNormDataPreprocessor,
)
from torch import Tensor, nn

from projects.dat.runtime.arguments import check_numbers
from projects.dat.runtime.errors import ArgumentError, UserError

from .adversary import Adversary

ASSEMBLIES = ('concat', 'replace')
SECOND_VIEW = (1,)  # ours: no published code says which view is attacked


class AdversarialMixin:
    """Attacks the training batch before the model sees it; stands before a data preprocessor.

    The attack gets RGB in 0..1. Padding stays exactly as it came: what the collation added, and
    what a pipeline's ``Pad`` did, told by its value (``pad_values``) at the borders of an image;
    what Mosaic or Expand fill counts as image. In validation and testing this is the plain
    preprocessor, unless an adversary was bound for these.

    :class:`AdversarialTrainingHook` binds the adversary; training without it raises, because it
    would silently train on clean images.

    Args:
        assembly (str): 'concat', the clean batch followed by the adversarial images with the same
            targets (a detector's mean over 2N images is half the sum of both losses); or 'replace',
            adversarial images in place of clean ones. Defaults to 'concat'.
        share (float): Part of the batch that is attacked, in 0..1, exclusive of 0: of N images the
            last ``round(share * N)``, at least one; with 'replace' and a share below 1 at least one
            stays clean. Defaults to 1.
        pad_values (Sequence): What pipelines pad with: numbers or tuples of three, 0..255, in the
            loader's order of channels. Defaults to ().
        views (Sequence[int]): Of self-supervision: which views are attacked, counted from 0.
            Defaults to (1,), the second alone.
        **kwargs: Those of the preprocessor.

    Sources: replace with share 1 is DAT's Algorithm 1 (arXiv:2209.07735), concat with share 1 the
    released code; Fast AdvProp (ICLR 2022) attacks a share.
    """

    # Whether the model sees one batch, whose clean images come first and adversarial ones last.
    ONE_BATCH = True

    def __init__(
        self, *args, assembly: str = 'concat', share: float = 1.0, pad_values: Sequence = (),
        views: Sequence[int] = SECOND_VIEW, **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self._setup(assembly, share, pad_values, views)

    def _setup(
        self, assembly: str, share: float, pad_values: Sequence = (),
        views: Sequence[int] = SECOND_VIEW,
    ) -> None:
        check_assembly(assembly, share)
        check_views(views)
        self.assembly = assembly
        self.share = share
        self.views = tuple(views)
        self.pad_values = [v if isinstance(v, Sequence) else [v] for v in pad_values]
        self._adversary = None
        self._evaluation = False
        self._range_checked = False

    @property
    def adversary(self) -> Adversary | None:
        """The bound adversary."""
        return self._adversary and self._adversary()

    def bind(self, adversary: Adversary, evaluation: bool = False) -> None:
        """Attack with ``adversary`` from now on; its owner keeps it alive.

        The reference is weak, so that neither the state dict nor a deep copy of the model (EMA)
        gets hold of the tokenizer.

        Args:
            adversary (Adversary): The attack and its model.
            evaluation (bool): Attack the batches of validation and testing, in place of those of
                training. Defaults to False.
        """
        self._adversary = weakref.ref(adversary)
        self._evaluation = evaluation

    def unbind(self) -> None:
        """Forget the adversary."""
        self._adversary = None

    def plain(self, data: dict) -> dict:
        """The training batch without an attack."""
        return super().forward(data, True)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As the plain preprocessor; with the adversarial images where these are due."""
        data = super().forward(data, training)
        adversary = self.adversary
        if training == self._evaluation:
            if adversary is not None:
                adversary.release()  # PreciseBNHook runs such batches through a model in training
            return data
        if adversary is None:
            raise UserError(
                'expected an attack, found none bound to the data preprocessor: train with '
                "runner_type='AdversarialRunner', which a fragment of configs/_base_/attacks sets"
            )
        inputs, samples = data['inputs'], data['data_samples']
        images = self._images(inputs)
        attacked = self._count_attacked(inputs)
        clean, targets = images[-attacked:], samples and samples[-attacked:]
        mask = self._content(clean, targets)

        def to_inputs(images: Tensor, which: slice):
            return self._attacked(inputs, self._normalize(images, clean[which], mask[which]))

        result = adversary(self._to_images(clean), mask, to_inputs, targets)
        adversarial = self._normalize(result.images, clean, mask)
        if self.assembly == 'concat':
            # Copies: some heads edit their targets, and must not do so twice.
            samples = samples and samples + copy.deepcopy(targets)
            kept = images
        else:
            kept = images[: len(images) - attacked]
        adversary.route(len(kept), attacked)
        joined = torch.cat([kept, adversarial]) if len(kept) else adversarial
        return dict(data, inputs=self._joined(inputs, joined), data_samples=samples)

    # What differs between the tasks.

    def _images(self, inputs) -> Tensor:
        """Of the inputs the images that may be attacked, (N, 3, H, W)."""
        return inputs

    def _count_attacked(self, inputs) -> int:
        """How many of these are, the last ones."""
        attacked = max(1, round(self.share * len(inputs)))
        if self.share < 1 and self.assembly == 'replace':
            attacked = min(attacked, max(1, len(inputs) - 1))  # clean images for batch norms
        return attacked

    def _attacked(self, inputs, images: Tensor):
        """The model's inputs for an attack, given its images."""
        return images

    def _joined(self, inputs, images: Tensor):
        """The model's inputs for training, given clean and adversarial images."""
        return images

    def _is_rgb(self) -> bool:
        """Whether the model takes RGB; BGR otherwise. Loaders give BGR."""
        return bool(self._channel_conversion)

    def _image_shapes(self, samples: list | None) -> list | None:
        """Height and width of each image without the collation's padding; None if it has none."""
        return None

    # Between normalized inputs and the attack's images, each in one pass over the batch.

    def _scale(self) -> tuple[Tensor, Tensor]:
        if self._enable_normalize:
            return self.mean, self.std
        zero = torch.zeros(1, device=self.device)
        return zero, zero + 1

    def _to_images(self, inputs: Tensor) -> Tensor:
        """Normalized to RGB, 0..1; clamped, as resizing and photometric distortions overshoot."""
        mean, std = self._scale()
        images = torch.addcmul(mean / 255, inputs, std / 255)
        if not self._range_checked and not images.is_meta:
            # The first batch alone: looking at values waits for the device.
            low, high = torch.stack(images.aminmax()).tolist()
            if high - low < 0.04:  # ten gray levels: normalized before, or in 0..1
                raise UserError(
                    "expected images in 0..255 behind the data preprocessor's mean and std, found "
                    f'{255 * low:.3g} to {255 * high:.3g}: normalize in model.data_preprocessor in '
                    'place of the pipeline'
                )
            self._range_checked = True
        images = images.clamp_(0, 1)
        return images if self._is_rgb() else images.flip(1)

    def _normalize(self, images: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
        """RGB in 0..1 to normalized, differentiable; padding is that of ``clean``."""
        mean, std = self._scale()
        images = images if self._is_rgb() else images.flip(1)
        return torch.where(mask, torch.addcmul(-mean / std, images, 255 / std), clean)

    def _content(self, inputs: Tensor, samples: list | None) -> Tensor:
        """BoolTensor (N, 1, H, W), False on padding."""
        shapes = self._image_shapes(samples)
        height, width = inputs.shape[-2:]
        if shapes is None:
            mask = torch.ones_like(inputs[:, :1], dtype=torch.bool)
        else:
            shapes = torch.tensor(shapes).to(inputs.device, non_blocking=True)
            rows = torch.arange(height, device=inputs.device) < shapes[:, :1]
            columns = torch.arange(width, device=inputs.device) < shapes[:, 1:]
            mask = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
        mean, std = self._scale()
        for value in self.pad_values:
            value = torch.tensor(value[::-1] if self._is_rgb() else value, dtype=torch.float32)
            value = value.view(-1, 1, 1).to(inputs.device, non_blocking=True)
            # A quarter of a gray level: batch augmentations may have resized the padding.
            padding = (inputs - (value - mean) / std).abs() < 0.25 / std
            content = ~padding.all(dim=1) & mask[:, 0]
            rows, columns = _span(content.any(dim=2)), _span(content.any(dim=1))
            mask = mask & (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
        return mask


def _span(found: Tensor) -> Tensor:
    """True from the first True to the last, along the last dimension."""
    seen = found.int()
    return (seen.cummax(dim=1)[0] & seen.flip(1).cummax(dim=1)[0].flip(1)).bool()


class _Det(AdversarialMixin):
    def _image_shapes(self, samples):
        return [sample.img_shape[:2] for sample in samples]


class _Cls(AdversarialMixin):
    # Mixup and cutmix are over by now, and the samples hold soft targets.
    def _is_rgb(self):
        return self.to_rgb

    def _image_shapes(self, samples):
        known = samples and all('img_shape' in sample for sample in samples)
        return [sample.img_shape[:2] for sample in samples] if known else None


class _SelfSup(AdversarialMixin):
    ONE_BATCH = False

    # Adversarial views take the place of views, so that no image becomes its own false negative:
    # whatever the assembly, clean images of these views give way to adversarial ones. Where a
    # queue's length must be a multiple of the batch (MoCo), so it must be of the attacked share.
    def _setup(self, assembly, share, pad_values=(), views=SECOND_VIEW):
        check_assembly(assembly, share)
        super()._setup('replace', share, pad_values, views)

    # The views of an image lie side by side, so that the last images have their views together.
    def _images(self, inputs):
        self._check_inputs(inputs)
        if len(self.views) == 1:
            return inputs[self.views[0]]
        return torch.stack([inputs[view] for view in self.views], dim=1).flatten(0, 1)

    def _check_inputs(self, inputs):
        least = max(2, *(view + 1 for view in self.views))
        if not isinstance(inputs, list) or len(inputs) < least:
            found = f'{len(inputs)} view' if isinstance(inputs, list) else 'images without views'
            raise UserError(
                f'expected {least} views of each image, to attack {self.views} of them counted '
                f'from 0, found {found}: use MultiView in the pipeline'
            )
        if len({inputs[view].shape for view in self.views}) > 1:
            shapes = ' and '.join(str(tuple(inputs[view].shape[2:])) for view in self.views)
            raise UserError(
                f'expected views of one size to attack them together, found {shapes}: name views '
                'of one size in adversarial.views'
            )

    def _count_attacked(self, inputs):
        count = len(inputs[0])
        # A contrastive loss and a projector's batch norm need a second image.
        return len(self.views) * min(count, max(2, round(self.share * count)))

    def _attacked(self, inputs, images):
        return self._joined([view[-len(images) // len(self.views) :] for view in inputs], images)

    def _joined(self, inputs, images):
        joined = list(inputs)
        for place, view in enumerate(self.views):
            joined[view] = images[place :: len(self.views)]
        return joined


@MODELS.register_module()
class AdversarialDetDataPreprocessor(_Det, DetDataPreprocessor):
    """MMDetection's, with an attack; see :class:`AdversarialMixin`."""


@MODELS.register_module()
class AdversarialClsDataPreprocessor(_Cls, ClsDataPreprocessor):
    """MMPretrain's for classification, with an attack; see :class:`AdversarialMixin`."""


@MODELS.register_module()
class AdversarialSelfSupDataPreprocessor(_SelfSup, SelfSupDataPreprocessor):
    """MMPretrain's for self-supervision, with an attack; see :class:`AdversarialMixin`."""


_TASKS = {
    DetDataPreprocessor: (_Det, AdversarialDetDataPreprocessor),
    ClsDataPreprocessor: (_Cls, AdversarialClsDataPreprocessor),
    SelfSupDataPreprocessor: (_SelfSup, AdversarialSelfSupDataPreprocessor),
}
_REFUSED = (BoxInstDataPreprocessor, TrackDataPreprocessor, TwoNormDataPreprocessor)


def make_adversarial(
    preprocessor: nn.Module, assembly: str, share: float, pad_values: Sequence = (),
    views: Sequence[int] = SECOND_VIEW,
) -> nn.Module:
    """The same data preprocessor with an attack: :class:`AdversarialMixin` over its own class.

    Args:
        preprocessor (nn.Module): A plain one, or one that is adversarial already.
        assembly (str): See the mixin.
        share (float): See the mixin.
        pad_values (Sequence): See the mixin. Defaults to ().
        views (Sequence[int]): See the mixin. Defaults to (1,).

    Raises:
        UserError: There is no attack for preprocessors of this class.
    """
    kind = type(preprocessor)
    if not issubclass(kind, AdversarialMixin):
        base = next((base for base in _TASKS if issubclass(kind, base)), None)
        if base is None or issubclass(kind, _REFUSED):
            raise UserError(
                f'{kind.__name__} cannot be made adversarial: expected a DetDataPreprocessor, a '
                'ClsDataPreprocessor, a SelfSupDataPreprocessor or a subclass that hands on one '
                'batch of images; train this model without the fragment (and without '
                "runner_type='AdversarialRunner'), or write a preprocessor over AdversarialMixin"
            )
        mixin, adversarial = _TASKS[base]
        if kind is not base:
            adversarial = type(f'Adversarial{kind.__name__}', (mixin, kind), {})
        converted = adversarial.__new__(adversarial)
        vars(converted).update(vars(preprocessor))
        preprocessor = converted
    preprocessor._setup(assembly, share, pad_values, views)
    return preprocessor


def check_assembly(assembly: str, share: float) -> None:
    """Raise ArgumentError for an unknown assembly or a share out of range."""
    if assembly not in ASSEMBLIES:
        raise ArgumentError(
            f'expected assembly to be one of {", ".join(ASSEMBLIES)}, got {assembly!r}'
        )
    check_numbers(share=share)
    if not 0 < share <= 1:
        raise ArgumentError(
            f'expected share, the part of the batch to attack, above 0 and up to 1, got {share}'
        )


def check_views(views: Sequence[int]) -> None:
    """Raise ArgumentError for what are no numbers of views."""
    if (
        not isinstance(views, list | tuple)
        or not views
        or len(set(views)) < len(views)
        or not all(isinstance(view, int) and view >= 0 for view in views)
    ):
        raise ArgumentError(
            'expected views to be the numbers of the views to attack, from 0 on, such as "[1]" for '
            f'the second or "[0,1]" for both, got {views!r}'
        )
