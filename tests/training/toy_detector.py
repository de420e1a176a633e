"""A detector under attack, small enough to be understood at a glance."""

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from projects.dat.attacks import DiscreteAttack
from projects.dat.tokenizer import FastVQGAN, Tokenizer
from projects.dat.training import AdversarialDetDataPreprocessor, Adversary

OPTIONS = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)


class Detector(nn.Module):
    """Just enough of a detector: batch norm, dropout, losses that need the targets."""

    def __init__(self, preprocessor, norm=nn.BatchNorm2d):
        super().__init__()
        self.data_preprocessor = preprocessor
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = norm(8)
        self.drop = nn.Dropout(0.3)

    def forward(self, inputs, data_samples, mode):
        assert mode == 'loss'
        x = self.drop(self.norm(self.conv(inputs)).relu())
        for sample in data_samples:
            # Some heads of MMDetection edit their targets.
            sample.gt_instances.bboxes *= 2
        boxes = sum(sample.gt_instances.bboxes.sum() for sample in data_samples)
        return dict(
            loss_cls=[x.square().mean(), x.mean()],
            loss_bbox=(x * 0.1).square().mean() * (1 + boxes * 1e-3),
            accuracy=x.mean(),
        )


def batch(*shapes, boxes=1):
    """Loaded images (uint8, BGR) with ``boxes`` boxes each."""
    torch.manual_seed(1)
    data = dict(inputs=[], data_samples=[])
    for h, w in shapes:
        data['inputs'].append(torch.randint(0, 256, (3, h, w), dtype=torch.uint8))
        sample = DetDataSample(metainfo=dict(img_shape=(h, w)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[2.0, 2, 20, 20]] * boxes).view(-1, 4),
            labels=torch.zeros(boxes, dtype=torch.long),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        data['data_samples'].append(sample)
    return data


class IdentityTokenizer:
    """Gives back the images it has seen last, whatever the tokens."""

    downscale = 8

    def tokenize(self, images):
        self.images = images
        return torch.zeros(len(images), *(-(-s // 8) for s in images.shape[2:]), dtype=torch.long)

    def detokenize(self, tokens, size):
        return self.images


def toy_tokenizer():
    """A network of the bundled tokenizer's kind, with random weights."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(FastVQGAN(width=8, num_tokens=64))
    tokenizer.codebook.normal_()
    return tokenizer


def make(attack=None, assembly='concat', norm=nn.BatchNorm2d, share=1.0, **options):
    """A detector in training and the adversary bound to its preprocessor."""
    attack = attack or DiscreteAttack(toy_tokenizer(), alpha=5.0)
    torch.manual_seed(0)
    preprocessor = AdversarialDetDataPreprocessor(
        assembly=assembly, share=share, **{**OPTIONS, **options}
    )
    model = Detector(preprocessor, norm).train()
    adversary = Adversary(attack, model)
    preprocessor.bind(adversary)
    return model, adversary
