"""Batch norm for batches whose second half is adversarial."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

ROUTES = ('main', 'aux', 'split')
SPLITS = ('shared', 'clean', 'aux')


@MODELS.register_module()
class SplitBN(nn.BatchNorm2d):
    """Batch norm that normalizes the two halves of a concatenated batch apart.

    With ``split='shared'`` both halves go through the same parameters, one after the other, each
    with its own statistics: what two forward passes through one BatchNorm do, as in DAT's released
    code. The running statistics, with which a trained model normalizes, then lie between those of
    the halves, where no training batch was. With ``split='clean'`` they are those of the first half
    alone; all else is as in 'shared'. With ``split='aux'`` the second half has a BatchNorm of its
    own, as in AdvProp (Xie et al., 2020, arXiv:1911.09665, section 4).

    The main keys of the state dict are BatchNorm's; a plain checkpoint loads (its values also start
    the auxiliary layer), and dropping the keys with ``.aux.`` gives a plain checkpoint back.

    What a batch consists of cannot be seen in its shape, so training code says it with
    :func:`route_batch_norm`; the default, 'main', is plain BatchNorm. In eval mode every route is
    the main BatchNorm. One value per channel, where BatchNorm raises in training, is normalized
    with the running statistics.

    Args:
        num_features (int): Number of channels.
        split (str): 'shared', 'clean' or 'aux'. Defaults to 'shared'.
        **kwargs: Those of :class:`torch.nn.BatchNorm2d`.
    """

    def __init__(self, num_features: int, split: str = 'shared', **kwargs):
        super().__init__(num_features, **kwargs)
        if split not in SPLITS:
            raise ValueError(f'expected split to be one of {", ".join(SPLITS)}, got {split!r}')
        self.split = split
        self.route = 'main'
        if split == 'aux':
            self.aux = nn.BatchNorm2d(num_features, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape; N must be even on the route 'split'."""
        if not self.training or self.route == 'main':
            return self._normalize(self, x)
        if self.route == 'aux':
            return self._normalize_adversarial(x)
        if len(x) % 2:
            raise RuntimeError(
                f'SplitBN expected a batch of clean and adversarial halves, got {len(x)} samples; '
                'layers behind a sampling step (RoI heads) need a plain BN'
            )
        clean, adversarial = x.chunk(2)
        return torch.cat([self._normalize(self, clean), self._normalize_adversarial(adversarial)])

    def _normalize_adversarial(self, x: Tensor) -> Tensor:
        if self.split == 'aux':
            return self._normalize(self.aux, x)
        return self._normalize(self, x, track=self.split == 'shared')

    def _normalize(self, norm: nn.BatchNorm2d, x: Tensor, track: bool = True) -> Tensor:
        if norm.training and x.numel() == x.shape[1]:
            # One value per channel (one image at the top of a pyramid) has no variance.
            mean, var = norm.running_mean, norm.running_var
            return F.batch_norm(x, mean, var, norm.weight, norm.bias, eps=norm.eps)
        if not track:
            return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        return nn.BatchNorm2d.forward(norm, x)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if self.split == 'aux':
            for name in self.aux.state_dict():
                if prefix + name in state_dict:
                    state_dict.setdefault(f'{prefix}aux.{name}', state_dict[prefix + name])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class SplitSyncBN(SplitBN):
    """:class:`SplitBN` with statistics over all ranks, on CPU (gloo) and GPU (nccl).

    Not a subclass of ``torch.nn.SyncBatchNorm``, which works on GPUs only and which MMEngine would
    replace by a plain BatchNorm in single-process runs. Without torch.distributed it is SplitBN.
    """

    def _normalize(self, norm: nn.BatchNorm2d, x: Tensor, track: bool = True) -> Tensor:
        if not (norm.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super()._normalize(norm, x, track)
        values = x.float()
        count = values.new_full((1,), values.numel() / values.shape[1])
        sums = all_reduce(torch.cat([values.sum(dim=(0, 2, 3)), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        # A second reduction, because E[x^2] - E[x]^2 cancels.
        centered = values - mean[:, None, None]
        var = all_reduce(centered.square().sum(dim=(0, 2, 3))) / count
        if track:
            self._update(norm, mean, var * count / (count - 1).clamp(min=1))
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        return (centered * scale[:, None, None] + norm.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update(self, norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
        norm.num_batches_tracked += 1
        momentum = norm.momentum
        if momentum is None:  # cumulative average, as in BatchNorm
            momentum = 1.0 / norm.num_batches_tracked.float()
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(var, momentum)


def split_batch_norms(model: nn.Module) -> list[SplitBN]:
    """All split batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, SplitBN)]


def set_route(norms: list[SplitBN], route: str) -> None:
    """Say what the next batches consist of: 'main' and 'aux' samples alone, or 'split' halves."""
    if route not in ROUTES:
        raise ValueError(f'expected route to be one of {", ".join(ROUTES)}, got {route!r}')
    for norm in norms:
        norm.route = route


@contextmanager
def route_batch_norm(norms: list[SplitBN], route: str) -> Iterator[None]:
    """:func:`set_route` for a block; the routes are restored afterwards."""
    before = [norm.route for norm in norms]
    set_route(norms, route)
    try:
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.route = old
