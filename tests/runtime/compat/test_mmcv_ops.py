"""Every op against plain loops or formulas, through mmcv's own wrappers."""

import math

import mmcv.ops
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from projects.dat.runtime.errors import UserError

DEVICES = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']


def random_boxes(number: int, side: float = 40) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) that overlap often, and scores without ties."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(number, 2, generator=generator) * side
    size = torch.rand(number, 2, generator=generator) * side
    scores = (torch.randperm(number, generator=generator) + 1) / (number + 1)
    return torch.cat([corner, corner + size], dim=1), scores


def iou(a: list, b: list, offset: int) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def greedy_nms(boxes: list, scores: list, threshold: float, offset: int) -> list:
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def greedy_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    scores, left, kept = list(scores), set(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        kept.append((best, scores[best]))
        left.remove(best)
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= math.exp(-overlap * overlap / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == 'linear' else 0
            if scores[i] < min_score:
                left.remove(i)
    return kept


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.2, 0.5, 0.9])
def test_nms(threshold, offset, device):
    boxes, scores = random_boxes(60)
    dets, kept = mmcv.ops.nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    expected = greedy_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    assert kept.tolist() == expected
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_offset_matters():
    boxes = torch.tensor([[0., 0, 3, 3], [2, 0, 5, 3]])  # IoU 1/5 as they are, 2/6 with offset 1
    scores = torch.tensor([0.9, 0.8])
    assert mmcv.ops.nms(boxes, scores, 0.25, offset=0)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, scores, 0.25, offset=1)[1].tolist() == [0]


def test_nms_in_half_precision():
    boxes, scores = random_boxes(20)
    boxes, scores = boxes.bfloat16(), scores.bfloat16()
    _, kept = mmcv.ops.nms(boxes, scores, 0.5)
    assert kept.tolist() == mmcv.ops.nms(boxes.float(), scores.float(), 0.5)[1].tolist()


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, offset):
    boxes, scores = random_boxes(60)
    dets, kept = mmcv.ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    expected = greedy_soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.05, method, offset)
    assert kept.tolist() == [i for i, _ in expected]
    assert 0 < len(kept) < len(boxes)
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))
    assert torch.equal(dets[:, :4], boxes[kept])


def test_soft_nms_leaves_its_inputs_alone():
    boxes, scores = random_boxes(10)
    before = boxes.clone(), scores.clone()
    mmcv.ops.soft_nms(boxes, scores)
    assert torch.equal(boxes, before[0]) and torch.equal(scores, before[1])


def test_soft_nms_of_boxes_without_area():
    boxes, scores = torch.ones(3, 4), torch.tensor([0.5, 0.9, 0.7])
    dets, kept = mmcv.ops.soft_nms(boxes, scores, method='gaussian')
    assert kept.tolist() == [1, 2, 0]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.5])


@pytest.mark.parametrize('op', [mmcv.ops.nms, mmcv.ops.soft_nms])
def test_suppression_of_nothing(op):
    dets, kept = op(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,) and kept.dtype == torch.long


@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms_keeps_classes_apart(kind):
    boxes = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 8]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])
    config = dict(type=kind, iou_threshold=0.5)
    dets, _ = mmcv.ops.batched_nms(boxes, scores, classes, config)
    assert dets[:2, 4].tolist() == pytest.approx([0.9, 0.8])
    assert (dets[2:, 4] < 0.7).all()


def bilinear(image: Tensor, y: float, x: float) -> float:
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    value = 0.0
    for row in (int(y), min(int(y) + 1, height - 1)):
        for column in (int(x), min(int(x) + 1, width - 1)):
            value += image[row, column].item() * (1 - abs(y - row)) * (1 - abs(x - column))
    # At the last row (column) both neighbors are one and the same with weight 1: count it once.
    return value / ((2 if y == height - 1 else 1) * (2 if x == width - 1 else 1))


def looped_roi_align(images, rois, size, scale, ratio, aligned):
    pooled = torch.zeros(len(rois), images.shape[1], *size)
    shift = 0.5 if aligned else 0
    for k, (index, x1, y1, x2, y2) in enumerate(rois.tolist()):
        top, left = y1 * scale - shift, x1 * scale - shift
        height, width = (y2 - y1) * scale, (x2 - x1) * scale
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        bin_h, bin_w = height / size[0], width / size[1]
        grid_h, grid_w = (ratio or math.ceil(bin_h), ratio or math.ceil(bin_w))
        for channel in range(images.shape[1]):
            for i in range(size[0]):
                for j in range(size[1]):
                    ys = [top + (i + (a + 0.5) / grid_h) * bin_h for a in range(grid_h)]
                    xs = [left + (j + (b + 0.5) / grid_w) * bin_w for b in range(grid_w)]
                    samples = [bilinear(images[int(index), channel], y, x) for y in ys for x in xs]
                    pooled[k, channel, i, j] = sum(samples) / max(len(samples), 1)
    return pooled


# Inside, across the border, smaller than a pixel, of the second image, far outside.
ROIS = torch.tensor([[0, 2.1, 3.3, 13.2, 11.9], [0, -3.7, -2.2, 5.1, 8.4], [0, 6.2, 6.4, 6.7, 6.9],
                     [1, 0.3, 1.1, 15.6, 15.2], [1, 40.5, 40.5, 50.1, 52.3]])


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2])
def test_roi_align(ratio, aligned, device):
    images = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = mmcv.ops.RoIAlign((3, 2), spatial_scale=0.5, sampling_ratio=ratio, aligned=aligned)
    expected = looped_roi_align(images, ROIS, (3, 2), 0.5, ratio, aligned)
    torch.testing.assert_close(layer(images.to(device), ROIS.to(device)).cpu(), expected)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient(ratio, aligned, device):
    images = torch.rand(2, 2, 8, 8, dtype=torch.float64, device=device, requires_grad=True)
    rois = ROIS.double().to(device)

    def pool(features):
        return mmcv.ops.roi_align(features, rois, (3, 2), 0.5, ratio, 'avg', aligned)

    # The kernel on CUDA adds atomically, in any order.
    assert torch.autograd.gradcheck(pool, images, nondet_tol=1e-12)


def test_roi_align_of_no_regions():
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    pooled = mmcv.ops.roi_align(images, torch.zeros(0, 5), (2, 2))
    assert pooled.shape == (0, 3, 2, 2)
    pooled.sum().backward()
    assert not images.grad.any()


def test_roi_align_in_half_precision():
    images = torch.rand(2, 2, 8, 8).bfloat16().requires_grad_()
    pooled = mmcv.ops.roi_align(images, ROIS.bfloat16(), (2, 2), 0.5)
    full = mmcv.ops.roi_align(images.float(), ROIS.bfloat16().float(), (2, 2), 0.5)
    assert pooled.dtype == torch.bfloat16
    assert torch.equal(pooled, full.bfloat16())
    pooled.sum().backward()
    assert images.grad.dtype == torch.bfloat16 and images.grad.any()


def test_roi_align_by_maximum_is_refused():
    with pytest.raises(UserError, match="pool_mode='max'.*mmcv 2.1.0"):
        mmcv.ops.roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), (2, 2), 1.0, 0, 'max')


def focal_loss(logits, target, gamma, alpha, weight):
    """Equation 5 of the paper from binary cross-entropy, elementwise."""
    truth = F.one_hot(target, logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    right = torch.where(truth > 0, logits.sigmoid(), 1 - logits.sigmoid())
    balance = torch.where(truth > 0, alpha, 1 - alpha)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    weights = torch.cat([weight, torch.ones(1).to(weight)])[target][:, None]
    return weights * balance * (1 - right)**gamma * cross_entropy


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma,alpha', [(2.0, 0.25), (1.5, 0.25), (0.0, 0.5), (1.0, 0.9)])
def test_sigmoid_focal_loss(gamma, alpha, weighted, device):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(12, 4, generator=generator) * 4).to(device).requires_grad_()
    target = torch.arange(12, device=device) % 5  # 4 is the background
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], device=device) if weighted else None

    loss = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    reference = logits.detach().double().requires_grad_()
    weight = torch.ones(4, device=device) if weight is None else weight
    expected = focal_loss(reference, target, gamma, alpha, weight.double())
    torch.testing.assert_close(loss, expected.float())

    upstream = torch.rand(12, 4, generator=generator).to(device)
    grad, = torch.autograd.grad(loss, logits, upstream)
    expected_grad, = torch.autograd.grad(expected, reference, upstream.double())
    torch.testing.assert_close(grad, expected_grad.float())


def test_sigmoid_focal_loss_of_certain_mistakes():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([0]), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.item() == pytest.approx(0.25 * 200 + 0.75 * 200)
    assert logits.grad.tolist() == [[-0.25, 0.75]]


def test_sigmoid_focal_loss_of_nothing():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None,
                                       'sum')
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 4)


def test_sigmoid_focal_loss_in_half_precision():
    logits = torch.randn(6, 4).bfloat16().requires_grad_()
    target = torch.arange(6) % 5
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'none')
    full = mmcv.ops.sigmoid_focal_loss(logits.float(), target, 2.0, 0.25, None, 'none')
    assert torch.equal(loss, full.bfloat16())
    loss.sum().backward()
    assert logits.grad.dtype == torch.bfloat16
