"""Data preprocessors that put adversarial images into the batch."""

import copy
import weakref

import torch
from mmdet.models import DetDataPreprocessor
from mmengine.registry import MODELS

from projects.dat.runtime.errors import UserError

from .adversary import Adversary
from .pixels import PixelSpace, valid_area

ASSEMBLIES = ('concat', 'replace')


@MODELS.register_module()
class AdversarialDetDataPreprocessor(DetDataPreprocessor):
    """DetDataPreprocessor that attacks the training batch before the model sees it.

    Images are read as BGR, MMDetection's default; ``bgr_to_rgb`` says that the model takes RGB. The
    attack gets RGB in 0..1. Pixels beyond a sample's ``img_shape`` (padding) stay exactly as they
    came. In validation and testing this is a plain DetDataPreprocessor.

    :class:`AdversarialTrainingHook` binds the adversary; training without it raises, because it
    would silently train on clean images.

    Args:
        assembly (str): 'concat', the clean batch followed by the adversarial one with the same
            targets (2N images; a detector's mean over them is half the sum of both losses), or
            'replace', the adversarial batch alone. Defaults to 'concat'.
        bgr_to_rgb (bool): Whether the model takes RGB. Defaults to False.
        **kwargs: Those of DetDataPreprocessor.
    """

    def __init__(self, assembly: str = 'concat', bgr_to_rgb: bool = False, **kwargs):
        super().__init__(bgr_to_rgb=bgr_to_rgb, **kwargs)
        if assembly not in ASSEMBLIES:
            raise ValueError(f'expected assembly to be one of {ASSEMBLIES}, got {assembly!r}')
        self.assembly = assembly
        self.rgb = bgr_to_rgb
        self._adversary = None

    @property
    def adversary(self) -> Adversary | None:
        """The bound adversary."""
        return self._adversary and self._adversary()

    def bind(self, adversary: Adversary) -> None:
        """Attack with ``adversary`` from now on; its owner keeps it alive.

        The reference is weak, so that neither the state dict nor a deep copy of the model (EMA)
        gets hold of the tokenizer.
        """
        self._adversary = weakref.ref(adversary)

    def unbind(self) -> None:
        """Forget the adversary."""
        self._adversary = None

    def forward(self, data: dict, training: bool = False) -> dict:
        """As DetDataPreprocessor; in training with the adversarial images."""
        data = super().forward(data, training)
        if not training:
            return data
        adversary = self.adversary
        if adversary is None:
            raise UserError(
                'expected an AdversarialTrainingHook to bind an attack, found none; add '
                "dict(type='AdversarialTrainingHook') to custom_hooks or use DetDataPreprocessor"
            )
        inputs, data_samples = data['inputs'], data['data_samples']
        pixels = PixelSpace(self, self.rgb)
        mask = valid_area(inputs, data_samples)

        def to_inputs(images, which=...):
            return torch.where(mask[which], pixels.to_inputs(images), inputs[which])

        result = adversary(pixels.to_images(inputs), mask, to_inputs, data_samples)
        adversarial = to_inputs(result.images)
        if self.assembly == 'replace':
            return dict(inputs=adversarial, data_samples=data_samples)
        return dict(
            inputs=torch.cat([inputs, adversarial]),
            # Copies: some heads edit their targets, and must not do so twice.
            data_samples=data_samples + copy.deepcopy(data_samples),
        )
