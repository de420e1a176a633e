import json
from pathlib import Path

import pytest
from safetensors import safe_open

FIXTURES = Path(__file__).parents[1] / 'fixtures'


@pytest.fixture(scope='session', params=['f8', 'f16'])
def reference(request):
    """Weights, inputs and outputs of a small VQGAN, computed with the reference implementation."""
    with safe_open(FIXTURES / f'vqgan_reference_{request.param}.safetensors', 'pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    prefix = 'state_dict.'
    state_dict = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return state_dict, tensors


@pytest.fixture(scope='session')
def published_layouts():
    """Keys and shapes of four published VQGANs, by name."""
    layouts = json.loads((FIXTURES / 'vqgan_checkpoint_layouts.json').read_text())
    return {name: layout['state_dict'] for name, layout in layouts.items()}
