"""Batch norm for batches whose second part is adversarial."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from projects.dat.runtime.errors import ArgumentError, UserError

ROUTES = ('main', 'aux', 'split')
SPLITS = ('shared', 'clean', 'aux')


class _AuxiliaryBN(_BatchNorm):
    def _check_input_dim(self, x: Tensor) -> None:
        pass


class SplitBN(_BatchNorm):
    """Batch norm that normalizes the clean and the adversarial part of a batch apart.

    With ``split='shared'`` both parts go through the same parameters, one after the other, each
    with its own statistics: what two forward passes through one BatchNorm do, as in DAT's released
    code. The running statistics, with which a trained model normalizes, then lie between those of
    the parts, where no training batch was. With ``split='clean'`` they are those of the clean part
    alone; all else is as in 'shared'. With ``split='aux'`` the adversarial part has a BatchNorm of
    its own, as in AdvProp (Xie et al., 2020, arXiv:1911.09665, section 4).

    The main keys of the state dict are BatchNorm's; a plain checkpoint loads (its values also start
    the auxiliary layer), and dropping the keys with ``.aux.`` gives a plain checkpoint back.

    What a batch consists of cannot be seen in its shape, so training code says it with
    :func:`set_route`; the default, 'main', is plain BatchNorm. In eval mode every route is the main
    BatchNorm. One value per channel, where BatchNorm raises in training, is normalized with the
    running statistics.

    Args:
        num_features (int): Number of channels.
        split (str): 'shared', 'clean' or 'aux'. Defaults to 'shared'.
        sync (bool): Statistics over all ranks, on CPU (gloo) and GPU (nccl); without
            torch.distributed there is no difference. Defaults to False.
        **kwargs: Those of :class:`torch.nn.BatchNorm2d`.

    Shape:
        (N, C) or (N, C, ...) to the same shape, N being images in the order of the batch.
    """

    def __init__(self, num_features: int, split: str = 'shared', sync: bool = False, **kwargs):
        super().__init__(num_features, **kwargs)
        if split not in SPLITS:
            raise ArgumentError(f'expected split to be one of {", ".join(SPLITS)}, got {split!r}')
        self.split = split
        self.sync = sync
        self.route = 'main'
        self.sizes = None
        if split == 'aux':
            self.aux = _AuxiliaryBN(num_features, **kwargs)

    @classmethod
    def convert(cls, model: nn.Module, split: str, keep: Sequence[str] = ()) -> list[str]:
        """Replace every batch norm of ``model`` that trains by one with the same weights.

        These are BatchNorm1d, 2d, 3d and SyncBatchNorm modules that are in training mode after
        ``model.train()``, wherever they come from. Others stay: frozen ones, whose statistics no
        batch touches, and classes that compute something else besides.

        Args:
            model (nn.Module): Changed in place; parameters stay the same objects.
            split (str): See the class.
            keep (Sequence[str]): Prefixes of module names that stay as they are, such as RoI heads,
                whose samples are not the batch's images. Defaults to ().

        Returns:
            list[str]: Names of the modules replaced.
        """
        model.train()
        converted = {}
        # With duplicates: one layer may stand at several places.
        for name, norm in list(model.named_modules(remove_duplicate=False)):
            plain = isinstance(norm, _BatchNorm) and type(norm).forward in _FORWARDS
            plain = plain and not isinstance(norm, LazyModuleMixin)
            if plain and name and norm.training and not name.startswith(tuple(keep)):
                if norm not in converted:
                    converted[norm] = cls._like(norm, split)
                model.set_submodule(name, converted[norm])
        return [name for name, m in model.named_modules() if isinstance(m, cls)]

    @classmethod
    def _like(cls, norm: _BatchNorm, split: str) -> 'SplitBN':
        new = cls(
            norm.num_features,
            split,
            isinstance(norm, nn.SyncBatchNorm),
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
        )
        new._parameters.update(norm._parameters)
        new._buffers.update(norm._buffers)
        new.start_auxiliary()
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a batch, or both parts of one."""
        if not self.training or self.route == 'main':
            return self._normalize(self, x)
        if self.route == 'aux':
            return self._normalize_adversarial(x)
        if len(x) != sum(self.sizes):
            raise UserError(
                f'a split batch norm expected {self.sizes[0]} clean and {self.sizes[1]} '
                f'adversarial images, got {len(x)} samples: name the part of the model whose '
                'samples are not images in adversarial.keep_bn, or set adversarial.split_bn=None'
            )
        if self.sizes[0] == 0:
            return self._normalize_adversarial(x)
        clean, adversarial = x.split(self.sizes)
        return torch.cat([self._normalize(self, clean), self._normalize_adversarial(adversarial)])

    def start_auxiliary(self) -> None:
        """Set the auxiliary layer, if there is one, to the values of the main one."""
        if self.split == 'aux':
            main = {k: v for k, v in self.state_dict().items() if not k.startswith('aux.')}
            self.aux.load_state_dict(main)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions: this class stands for BatchNorm1d, 2d and 3d."""

    def _normalize_adversarial(self, x: Tensor) -> Tensor:
        if self.split == 'aux':
            return self._normalize(self.aux, x)
        return self._normalize(self, x, track=self.split == 'shared')

    def _normalize(self, norm: _BatchNorm, x: Tensor, track: bool = True) -> Tensor:
        if norm.training and self.sync and dist.is_initialized() and dist.get_world_size() > 1:
            return self._normalize_over_ranks(norm, x, track)
        tracked = norm.running_mean is not None
        if norm.training and tracked and x.numel() == x.shape[1]:
            # One value per channel (one image at the top of a pyramid) has no variance.
            mean, var = norm.running_mean, norm.running_var
            return F.batch_norm(x, mean, var, norm.weight, norm.bias, eps=norm.eps)
        if not track:
            return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        return _BatchNorm.forward(norm, x)

    def _normalize_over_ranks(self, norm: _BatchNorm, x: Tensor, track: bool) -> Tensor:
        values = x.float()
        others = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = values.new_full((1,), values.numel() / values.shape[1])
        sums = all_reduce(torch.cat([values.sum(dim=others), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        # A second reduction, because E[x^2] - E[x]^2 cancels.
        centered = values - mean.view(shape)
        var = all_reduce(centered.square().sum(dim=others)) / count
        if track and norm.running_mean is not None:
            self._update(norm, mean, var * count / (count - 1).clamp(min=1))
        out = centered * torch.rsqrt(var + norm.eps).view(shape)
        if norm.affine:
            out = out * norm.weight.view(shape) + norm.bias.view(shape)
        return out.to(x.dtype)

    @torch.no_grad()
    def _update(self, norm: _BatchNorm, mean: Tensor, var: Tensor) -> None:
        norm.num_batches_tracked += 1
        momentum = norm.momentum
        if momentum is None:  # cumulative average, as in BatchNorm
            momentum = 1.0 / norm.num_batches_tracked.float()
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(var, momentum)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if self.split == 'aux':
            for name in self.aux.state_dict():
                if prefix + name in state_dict:
                    state_dict.setdefault(f'{prefix}aux.{name}', state_dict[prefix + name])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def split_batch_norms(model: nn.Module) -> list[SplitBN]:
    """All split batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, SplitBN)]


def set_route(
    norms: Sequence[SplitBN], route: str, sizes: tuple[int, int] | None = None
) -> None:
    """Say what the next batches consist of.

    Args:
        norms: The layers to tell.
        route: 'main' or 'aux', samples of one kind; 'split', clean ones and then adversarial ones.
        sizes: For 'split': how many clean and how many adversarial samples. Defaults to None.
    """
    if route not in ROUTES or (route == 'split') != (sizes is not None):
        raise ValueError(
            f"expected route to be one of {', '.join(ROUTES)}, with sizes for 'split' alone, got "
            f'{route!r} and {sizes}'
        )
    for norm in norms:
        norm.route, norm.sizes = route, sizes


@contextmanager
def route_batch_norm(norms: Sequence[SplitBN], route: str) -> Iterator[None]:
    """:func:`set_route` for a block; the routes are restored afterwards."""
    before = [(norm.route, norm.sizes) for norm in norms]
    set_route(norms, route)
    try:
        yield
    finally:
        for norm, (old, sizes) in zip(norms, before, strict=True):
            norm.route, norm.sizes = old, sizes
