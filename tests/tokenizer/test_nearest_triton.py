"""The CUDA kernels, in Triton's interpreter, which runs them on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

# In a process of its own: Triton has to know before its import that it is to interpret. The file
# alone, because importing the project takes longer than all cases. Where Triton is missing, the
# search without it has to give the same.
SCRIPT = """
import importlib.util
import sys
import torch
spec = importlib.util.spec_from_file_location('kernels', 'projects/dat/tokenizer/nearest_triton.py')
kernels = importlib.util.module_from_spec(spec)
try:
    spec.loader.exec_module(kernels)
except ImportError:
    from projects.dat.tokenizer import nearest_codes as search
else:
    search = kernels.nearest_codes
    kernels._ROWS, kernels._MINIMA_BYTES = 16, 4 * 16 * 3
cases = torch.load(sys.argv[1], weights_only=True)
torch.save({name: search(*case) for name, case in cases.items()}, sys.argv[2])
"""


def cases():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    # Seen from the middle of these spheres, fp32 distances single out a wrong code.
    spheres = torch.nn.functional.normalize(normal(100, 140, 4), dim=-1)
    lengths, exact = (x.square().sum(-1).argmin(1) for x in (spheres, spheres.double()))
    sphere = spheres[lengths != exact][0]
    # Neighbors in fp32, in different blocks of codes.
    offset = normal(140, 4) + 100
    close = torch.cat([offset, offset.nextafter(torch.tensor(200.0))])
    repeated = normal(60, 4).repeat(3, 1)[torch.randperm(180, generator=generator)]
    return {
        'three chunks of vectors, three blocks of codes': (normal(35, 4), normal(300, 4)),
        'one code': (normal(2, 4), normal(1, 4)),
        'one dimension': (normal(3, 1), normal(140, 1)),
        'dimensions that fill no tile': (normal(3, 37), normal(140, 37)),
        'many dimensions': (normal(3, 256), normal(140, 256)),
        'half precision': (normal(3, 4).half(), normal(140, 4).half()),
        'far from the origin': (close[:280:40] + 1e-3 * normal(7, 4), close),
        'near ties': (normal(1, 4) * 1e-20, sphere),
        'ties': (normal(8, 4), repeated),
        'none': (normal(0, 4), normal(5, 4)),
    }


CASES = cases()


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp('triton')
    torch.save(CASES, folder / 'cases.pt')
    subprocess.run(
        [sys.executable, '-c', SCRIPT, folder / 'cases.pt', folder / 'found.pt'],
        cwd=ROOT,
        env={**os.environ, 'TRITON_INTERPRET': '1', 'OMP_NUM_THREADS': '1'},
        check=True,
    )
    return torch.load(folder / 'found.pt', weights_only=True)


@pytest.mark.parametrize('name', CASES)
def test_equals_brute_force(found, name):
    vectors, codes = CASES[name]
    distances = (vectors.double()[:, None] - codes.double()[None]).square().sum(-1)
    assert torch.equal(found[name], distances.argmin(1))
