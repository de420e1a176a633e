"""Which layer may import which: downward only, and no mm* package below the glue."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'projects/dat'
# From the lowest up; runtime is beside all of them.
LAYERS = ['tokenizer', 'attacks', 'corruptions', 'models', 'training', 'evaluation']
FILES = sorted(p for layer in [*LAYERS, 'runtime'] for p in (PACKAGE / layer).rglob('*.py'))


def imported(file):
    """Dotted names of the modules that a file imports."""
    package = file.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*parents, *([node.module] if node.module else [])])
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_downward(file):
    layer = file.relative_to(PACKAGE).parts[0]
    below = LAYERS[: LAYERS.index(layer) + 1] if layer in LAYERS else []
    for name in imported(file):
        parts = name.split('.')
        if parts[:2] == ['projects', 'dat'] and len(parts) > 2:
            assert parts[2] in {*below, 'runtime', layer}, name
        if layer in ('tokenizer', 'attacks'):
            assert not parts[0].startswith('mm'), name


@pytest.mark.parametrize('folder', [PACKAGE, *(PACKAGE / x for x in [*LAYERS, 'runtime'])],
                         ids=lambda folder: folder.name)
def test_no_two_files_of_one_name_in_one_layer(folder):
    files = folder.glob('*.py') if folder == PACKAGE else folder.rglob('*.py')
    names = [file.name for file in files if file.name != '__init__.py']
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0].startswith(('mmcv', 'mmdet', 'mmengine', 'mmpretrain')):
            raise ModuleNotFoundError(f'{name} is blocked')

sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
import torch
import torch.nn.functional as F
from projects.dat.attacks import DiscreteAttack
from projects.dat.tokenizer import load_tokenizer

model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten(), torch.nn.LazyLinear(2))
images = torch.rand(2, 3, 64, 64)
model(images)
labels = torch.tensor([0, 1])
attack = DiscreteAttack(load_tokenizer())
result = attack(images, lambda x: F.cross_entropy(model(x), labels))
assert not [n for n in sys.modules if n.startswith(('mmcv', 'mmdet', 'mmengine', 'mmpretrain'))]
print('CHANGED', result.stats['attack/token_change'].item())
"""


def test_the_attack_runs_where_no_mm_package_can_be_imported():
    """As README shows it; and it changes the published share of tokens at once."""
    command = [sys.executable, '-c', BLOCKED, str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout.split()[-1]) == pytest.approx(0.038, abs=0.02)


def test_importing_the_package_imports_nothing():
    code = 'import sys; old = set(sys.modules); import projects.dat; print(*set(sys.modules) - old)'
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert set(result.stdout.split()) <= {'projects', 'projects.dat'}, result.stderr
