"""The regression loss of EfficientDet."""

import torch
from mmdet.models.losses.utils import weighted_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from projects.dat.runtime.errors import ArgumentError


@weighted_loss
def huber_loss(pred: Tensor, target: Tensor, beta: float) -> Tensor:
    if pred.shape != target.shape:
        raise ValueError(
            f'HuberLoss expects a prediction and a target of one shape, found {tuple(pred.shape)} '
            f"and {tuple(target.shape)}: encode the targets with the head's bbox_coder.")
    if target.numel() == 0:
        return pred.sum() * 0
    # Not F.huber_loss: under AMP the prediction is half precision and the target is not, and its
    # backward pass (torch 2.11) refuses that.
    distance = (pred - target).abs()
    return torch.where(distance < beta, distance.square() / 2, beta * (distance - beta / 2))


@MODELS.register_module()
class HuberLoss(nn.Module):
    """``d**2 / 2`` where the distance d is below ``beta``, else ``beta * (d - beta / 2)``.

    From P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
    Statistics 35 (1964). It is ``beta`` times MMDetection's ``SmoothL1Loss``. EfficientDet's
    published settings are ``beta=0.1`` and ``loss_weight=50`` (``delta`` and ``box_loss_weight`` in
    https://github.com/google/automl/blob/master/efficientdet/hparams_config.py).

    Args:
        beta (float): Distance at which the parabola becomes a line, in units of the prediction;
            positive. Defaults to 1.0.
        reduction (str): "none", "mean" or "sum". Defaults to "mean".
        loss_weight (float): Factor of the loss. Defaults to 1.0.
    """

    def __init__(
        self, beta: float = 1.0, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if beta <= 0:
            raise ArgumentError(
                f'HuberLoss expects a positive beta, found {beta}: EfficientDet uses beta=0.1.')
        self.beta = beta
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Loss between tensors of one shape, each element times its ``weight``.

        ``avg_factor`` replaces the number of elements in a mean, ``reduction_override`` the
        ``reduction`` of the module.
        """
        return self.loss_weight * huber_loss(
            pred,
            target,
            weight,
            beta=self.beta,
            reduction=reduction_override or self.reduction,
            avg_factor=avg_factor,
        )
