"""The model of a tokenizer's training: a VQGAN and its losses."""

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from projects.dat.runtime.errors import ArgumentError, UserError
from projects.dat.tokenizer import (
    VQGAN,
    EMAQuantizer,
    FastVQGAN,
    PatchDiscriminator,
    adaptive_weight,
    hinge_loss,
    load_lpips,
    load_tokenizer,
    nearest_codes,
)
from projects.dat.tokenizer.precision import true_fp32

MODELS.register_module(module=VQGAN)
MODELS.register_module(module=FastVQGAN)

PRECISIONS = ('fp32', 'bf16')


@MODELS.register_module()
class TokenizerTraining(BaseModel):
    """A VQGAN with the losses of Esser et al., 2021 (arXiv:2012.09841), section 3.1.

    L1 and LPIPS to the image, a hinge GAN on patches whose weight adapts to their gradient at the
    decoder's last layer, and the commitment to the tokens, which follow by running means. Generator
    and discriminator take their step at once, from one backward pass: an ordinary model to the
    Runner, to DDP and to EMA.

    Args:
        network (dict | str): Config of the network, ``VQGAN`` or ``FastVQGAN``; or the name or the
            file of a tokenizer to go on from.
        quantizer (dict): Arguments of :class:`EMAQuantizer`. Defaults to dict().
        commitment_weight (float): Weight of the commitment loss. Defaults to 0.25, as van den Oord
            et al., 2017.
        lpips (list[str] | str): Where the weights of LPIPS are, see ``load_lpips``. Defaults to
            (): no LPIPS, neither as a loss nor in validation.
        lpips_weight (float): Weight of LPIPS beside L1. Defaults to 1.0.
        discriminator (dict | None): Arguments of ``PatchDiscriminator``. Defaults to None, no GAN.
        discriminator_weight (float): Of the adversarial gradient, as a share of the
            reconstruction's. Defaults to 0.75, as the published f8 tokenizer.
        discriminator_start (int): Iteration from which the discriminator counts. It trains from the
            first one: one that counts untrained is fooled at once and never learns. Defaults to 0.
        precision (str): 'fp32', or 'bf16' for everything but the nearest-code search and the sums
            of losses, under autocast. Defaults to 'fp32'.
    """

    def __init__(
        self,
        network: dict | str,
        quantizer: dict | None = None,
        commitment_weight: float = 0.25,
        lpips: list[str] | str = (),
        lpips_weight: float = 1.0,
        discriminator: dict | None = None,
        discriminator_weight: float = 0.75,
        discriminator_start: int = 0,
        precision: str = 'fp32',
    ):
        super().__init__()
        if precision not in PRECISIONS:
            raise ArgumentError(
                f'expected precision to be one of {", ".join(PRECISIONS)}, got {precision!r}'
            )
        if isinstance(network, str):
            self.network = load_tokenizer(network).network.requires_grad_(True)
            # A tokenizer is channels_last, which suits inference.
            self.network.to(memory_format=torch.contiguous_format)
        else:
            self.network = MODELS.build(network)
        self.quantizer = EMAQuantizer(
            self.network.quantize.embedding.weight,
            trained=isinstance(network, str),
            **(quantizer or {}),
        )
        self.commitment_weight = commitment_weight
        sources = [lpips] if isinstance(lpips, str) else lpips
        self.lpips = load_lpips(*sources) if sources else None
        self.lpips_weight = lpips_weight
        self.discriminator = None
        if discriminator is not None:
            self.discriminator = PatchDiscriminator(**discriminator)
        self.discriminator_weight = discriminator_weight
        self.discriminator_start = discriminator_start
        self.precision = precision

    def forward(self, images: Tensor, mode: str = 'tensor'):
        """Images (N, 3, H, W) in 0..1, H and W multiples of the downscale factor (else UserError).

        Returns:
            With ``loss`` a dict of losses and, without 'loss' in their names, of what they consist
            of; with ``predict`` a list with a dict of image, reconstruction, tokens, num_tokens and
            (with LPIPS) lpips for each image; otherwise the reconstructions.
        """
        downscale, (height, width) = self.network.downscale, images.shape[-2:]
        if not (height and width) or height % downscale or width % downscale:
            raise UserError(
                f'expected images whose sides are multiples of {downscale}, found {height} x '
                f'{width}; choose another size'
            )
        if mode == 'loss':
            return self._losses(images)
        codebook = self.network.quantize.embedding.weight
        with true_fp32():
            z = self.network.encode(images)
            tokens = nearest_codes(z.movedim(1, -1).flatten(0, 2), codebook).view(
                z.shape[0], *z.shape[2:]
            )
            reconstruction = self.network.decode(codebook[tokens].movedim(-1, 1)).clamp(0, 1)
        if mode != 'predict':
            return reconstruction
        predictions = dict(image=images, reconstruction=reconstruction, tokens=tokens)
        if self.lpips is not None:
            with self._autocast(images):
                predictions['lpips'] = self.lpips(reconstruction, images)
        return [
            dict(zip(predictions, values, strict=True), num_tokens=len(codebook))
            for values in zip(*predictions.values(), strict=True)
        ]

    def _losses(self, images: Tensor) -> dict[str, Tensor]:
        with self._autocast(images):
            z = self.network.encode(images).float()
        entries, commitment, _ = self.quantizer(z)
        with self._autocast(images):
            reconstruction = self.network.decode(entries).float()

        # Each judge's gradient is taken at the reconstruction, once: the decoder is then passed
        # backwards once, and the adaptive weight costs the last layer alone.
        image = reconstruction.detach().requires_grad_()
        parts = dict(l1=(image - images).abs().mean())
        if self.lpips is not None:
            with self._autocast(images):
                parts['lpips'] = self.lpips(image, images).mean()
        loss = parts['l1'] + self.lpips_weight * parts.get('lpips', 0)
        (gradient,) = torch.autograd.grad(loss, image)
        losses = dict(loss_commitment=self.commitment_weight * commitment)
        if self._discriminator_counts:
            with self._autocast(images):
                parts['generator'] = -self._frozen_discriminator(image).float().mean()
            (adversarial,) = torch.autograd.grad(parts['generator'], image)
            weight = self.discriminator_weight * adaptive_weight(
                self._at_last_layer(reconstruction, gradient),
                self._at_last_layer(reconstruction, adversarial),
            )
            gradient = gradient + weight * adversarial
            loss = loss + weight * parts['generator']
            parts['generator_weight'] = weight
        if self.discriminator is not None:
            with self._autocast(images):
                logits = self.discriminator(torch.cat([images, image.detach()])).float()
            losses['loss_discriminator'] = hinge_loss(*logits.chunk(2))
        losses['loss_image'] = _WithGradient.apply(reconstruction, loss.detach(), gradient)
        return losses | {name: part.detach() for name, part in parts.items()}

    @property
    def _discriminator_counts(self) -> bool:
        if self.discriminator is None:
            return False
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        return iteration >= self.discriminator_start

    def _frozen_discriminator(self, images: Tensor) -> Tensor:
        """The discriminator's logits, whose gradient reaches the images alone."""
        parameters = {k: v.detach() for k, v in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, parameters, images)

    def _at_last_layer(self, reconstruction: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with respect to the decoder's last weight."""
        (result,) = torch.autograd.grad(
            reconstruction, self.network.last_layer, gradient, retain_graph=True
        )
        return result

    def _autocast(self, tensor: Tensor) -> torch.autocast:
        return torch.autocast(tensor.device.type, torch.bfloat16, self.precision == 'bf16')


class _WithGradient(torch.autograd.Function):
    """A loss whose gradient with respect to ``tensor`` is known already."""

    @staticmethod
    def forward(ctx, tensor: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None
