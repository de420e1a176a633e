"""Classification by the nearest training images: what features are worth without any training."""

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor

from projects.dat.runtime.errors import UserError


@MODELS.register_module()
class KNNHead(ClsHead):
    """Weighted vote of the k nearest of a bank of labelled features.

    As in instance discrimination (https://arxiv.org/abs/1805.01978, section 3.4): features are
    compared by their cosine s, and a neighbor votes for its class with exp(s / temperature). The
    bank is in the state dict, whatever its length, so that the model is tested like any classifier.

    Args:
        num_classes (int): Number of classes.
        k (int): Number of neighbors; the whole bank where it has fewer. Defaults to 20.
        temperature (float): Of the votes. Defaults to 0.07, the paper's.
        **kwargs: Those of MMPretrain's ``ClsHead``.
    """

    def __init__(self, num_classes: int, k: int = 20, temperature: float = 0.07, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.k = k
        self.temperature = temperature
        self.register_buffer('features', torch.empty(0, 0))
        self.register_buffer('labels', torch.empty(0, dtype=torch.long))

    def add(self, feats: tuple[Tensor], labels: Tensor) -> None:
        """Add images to the bank: the last of ``feats`` is (N, C), ``labels`` is (N,)."""
        new = F.normalize(self.pre_logits(feats), dim=1)
        self.features = torch.cat([self.features.view(-1, new.shape[1]), new])
        self.labels = torch.cat([self.labels, labels])

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Logarithms of each class's share of the votes, (N, num_classes)."""
        if not len(self.labels):
            raise UserError(
                'expected a bank of features in the checkpoint, found none: make one with '
                'tools/train.py and this config, which passes the training images once'
            )
        cosines = F.normalize(self.pre_logits(feats), dim=1) @ self.features.T
        cosines, neighbors = cosines.topk(min(self.k, len(self.labels)))
        votes = F.softmax(cosines / self.temperature, dim=1)
        shares = votes.new_zeros(len(votes), self.num_classes)
        shares = shares.scatter_add(1, self.labels[neighbors], votes)
        # Not 0 where a class has no vote: an attack follows this loss.
        return shares.clamp(min=1e-6).log()

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in ('features', 'labels'):
            if prefix + name in state_dict:
                own = getattr(self, name)
                setattr(self, name, own.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class KNNClassifier(ImageClassifier):
    """A frozen backbone under a :class:`KNNHead`; training fills the bank, in one process.

    One epoch of training passes the training images, as its pipeline gives them, and no parameter
    changes. Everything is in evaluation mode always.

    Args:
        *args, **kwargs: Those of MMPretrain's ``ImageClassifier``; its head is a ``KNNHead``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'KNNClassifier':
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def train_step(self, data: dict, optim_wrapper=None) -> dict:
        """Add a batch to the bank."""
        if get_world_size() > 1:
            raise UserError('expected one process to fill a bank of features, found '
                            f'{get_world_size()}: start tools/train.py without a launcher')
        data = self.data_preprocessor(data, True)
        labels = torch.cat([sample.gt_label for sample in data['data_samples']])
        self.head.add(self.extract_feat(data['inputs']), labels)
        return {}
