"""The compiled ops of mmcv 2.1.0 that detectors and classifiers need, on torch and torchvision.

Names, arguments and the tensors that are filled in place are those of ``mmcv._ext``; the semantics
are those of mmcv's kernels (https://github.com/open-mmlab/mmcv/tree/v2.1.0/mmcv/ops/csrc). Every op
but ``softnms``, which mmcv itself calls on CPU tensors alone, runs on CPU and CUDA.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops

from ..errors import UserError

__all__ = [
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: A box is dropped if it overlaps a kept one by more than this.
        offset: 0 or 1, added to every width and height.

    Returns:
        Indices of the kept boxes, by descending score; int64, (K,).
    """
    shift = boxes.new_tensor([0, 0, offset, offset])
    return ops.nms(_full_precision(boxes + shift), _full_precision(scores), iou_threshold)


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float,
            min_score: float, method: int, offset: int) -> Tensor:
    """Soft-NMS (https://arxiv.org/abs/1704.04503): overlap lowers a score instead of removing it.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2; on the CPU, like every tensor here.
        scores: (N,).
        dets: (N, 5); row k receives the k-th kept box and its decayed score.
        iou_threshold: Overlap from which the naive and the linear method act.
        sigma: Width of the Gaussian method.
        min_score: Boxes that decay below it are dropped.
        method: 0 naive (drop), 1 linear (times 1 - IoU), 2 Gaussian (times exp(-IoU^2 / sigma)).
        offset: 0 or 1, added to every width and height.

    Returns:
        Indices of the kept boxes in the order of ``dets``, equal scores by index; int64, (K,).
    """
    # One short step per kept box: numpy spends a third of torch's time on it.
    corners, left = boxes.float().numpy(), scores.float().numpy().copy()
    index, rows, kept = np.arange(len(left)), [], []
    while len(index):
        best = left.argmax()
        rows.append([*corners[best], left[best]])
        kept.append(index[best])
        left *= _decay(_iou(corners[best], corners, offset), iou_threshold, sigma, method)
        alive = left >= min_score
        alive[best] = False
        corners, left, index = corners[alive], left[alive], index[alive]
    dets[:len(kept)] = dets.new_tensor(rows).reshape(-1, 5)
    return torch.tensor(kept, dtype=torch.long)


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor,
                      argmax_x: Tensor, aligned_height: int, aligned_width: int,
                      spatial_scale: float, sampling_ratio: int, pool_mode: int,
                      aligned: bool) -> None:
    """RoIAlign with average pooling (https://arxiv.org/abs/1703.06870).

    Args:
        input: Features, (N, C, H, W).
        rois: (K, 5) as image index, x1, y1, x2, y2.
        output: Receives the pooled features, (K, C, aligned_height, aligned_width).
        argmax_y: Not used: only max pooling needs it.
        argmax_x: Not used: only max pooling needs it.
        aligned_height: Rows of the output.
        aligned_width: Columns of the output.
        spatial_scale: From the units of ``rois`` to those of ``input``.
        sampling_ratio: Samples per bin and axis; 0 takes as many as the bin has pixels.
        pool_mode: 1 for average pooling.
        aligned: Whether pixel centers lie at half-integer coordinates.

    Raises:
        UserError: For max pooling.
    """
    if pool_mode != 1:
        raise UserError("RoIAlign with pool_mode='max' needs the full mmcv 2.1.0 but mmcv-lite is "
                        "installed: set pool_mode='avg' or replace mmcv-lite by mmcv.")
    features = _full_precision(input)
    output.copy_(ops.roi_align(features, rois.to(features.dtype), (aligned_height, aligned_width),
                               spatial_scale, sampling_ratio, aligned))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor,
                       grad_input: Tensor, aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int, pool_mode: int,
                       aligned: bool) -> None:
    """Gradient of :func:`roi_align_forward`; ``grad_input``, (N, C, H, W), receives it."""
    grad = _full_precision(grad_output)
    grad_input.copy_(torch.ops.torchvision._roi_align_backward(
        grad, rois.to(grad.dtype), spatial_scale, aligned_height, aligned_width,
        *grad_input.shape, sampling_ratio, aligned))


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor,
                               gamma: float, alpha: float) -> None:
    """Sigmoid focal loss (https://arxiv.org/abs/1708.02002, equation 5), elementwise.

    mmcv clamps log(0) at about -87; here large logits keep their exact loss and gradient.

    Args:
        input: Logits, (N, C).
        target: Class of each row, C for background; int64, (N,).
        weight: Weight of each class, (C,), or empty for none; background weighs 1.
        output: Receives the loss, (N, C).
        gamma: Focusing exponent, 0 or more.
        alpha: Weight of the positives, 0..1.
    """
    logit, balance, _ = _towards_target(input, target, weight, alpha)
    wrong = (-logit).sigmoid()
    output.copy_(-balance * wrong**gamma * F.logsigmoid(logit))


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Gradient of :func:`sigmoid_focal_loss_forward` to its input; ``grad_input`` receives it."""
    logit, balance, sign = _towards_target(input, target, weight, alpha)
    wrong = (-logit).sigmoid()
    slope = gamma * (1 - wrong) * F.logsigmoid(logit) - wrong
    grad_input.copy_(sign * balance * wrong**gamma * slope)


def _full_precision(tensor: Tensor) -> Tensor:
    # torchvision's kernels exist for float32 and float64 on every device, for 16 bits on some.
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _iou(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """Overlap of one box (4,) with others (N, 4); 0 where the union has no area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = (high - low + offset).clip(min=0).prod(axis=1)
    area = (others[:, 2:] - others[:, :2] + offset).prod(axis=1)
    union = (box[2:] - box[:2] + offset).prod() + area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == 2:
        return np.exp(-iou**2 / sigma)
    return np.where(iou >= iou_threshold, 1 - iou if method == 1 else 0, 1)


def _towards_target(input: Tensor, target: Tensor, weight: Tensor,
                    alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the right answer, their weights and the sign of the input in them; each (N, C)."""
    logits = _full_precision(input)
    positive = target[:, None] == torch.arange(input.size(1), device=input.device)
    sign = positive.to(logits.dtype) * 2 - 1
    balance = torch.where(positive, alpha, 1 - alpha).to(logits.dtype)
    if weight.numel():
        balance = balance * F.pad(weight, (0, 1), value=1)[target][:, None]
    return sign * logits, balance, sign
