"""Self-supervision under attack in two processes: collectives, traces, equal weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.selfsup_case import METHODS

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import copy, hashlib, json, sys
sys.path[:0] = [{root!r}, {root!r} + '/tests/training']  # another package may be called tests
import projects.dat.register
import torch, torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.models.heads import mocov3_head
from mmpretrain.models.selfsup import simclr
from projects.dat.attacks import DiscreteAttack
from selfsup_case import METHODS, make, views
from toy_detector import toy_tokenizer

torch.set_num_threads(1)
dist.init_process_group('gloo')
rank = dist.get_rank()
gathered = []
for module in (simclr, mocov3_head):
    def counting(tensor, gather=module.all_gather):
        gathered.append(list(tensor.shape))
        return gather(tensor)
    module.all_gather = counting

def digest(tensors):
    found = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        found.update(key.encode() + value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()

report = dict()
for method in METHODS:
    model, adversary = make(method, DiscreteAttack(toy_tokenizer(), alpha=5.0), share=0.75)
    wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    seen, clean = [], True
    preprocess = model.data_preprocessor.forward
    def watched(data, training=False):
        global clean
        before = digest(model.state_dict()) + digest(dict(rng=torch.get_rng_state()))
        gathered.clear()
        out = preprocess(data, training)
        seen.append(len(gathered))
        clean = clean and before == digest(model.state_dict()) + digest(
            dict(rng=torch.get_rng_state()))
        return out
    model.data_preprocessor.forward = watched
    for step in range(3):
        wrapped.train_step(views(seed=10 * step + rank), optimizer)
    learned = {{k: v for k, v in model.state_dict().items() if 'running_' not in k}}
    report[method] = dict(
        clean=clean, attack=seen, step=gathered[seen[-1]:], weights=digest(learned),
        own=digest(model.state_dict()), change=adversary.stats['attack/token_change'].item())
print('REPORT ' + json.dumps(report) + '\\n', end='', flush=True)
"""


@pytest.fixture(scope='module')
def reports(tmp_path_factory):
    script = tmp_path_factory.mktemp('distributed') / 'script.py'
    script.write_text(SCRIPT.format(root=str(ROOT)))
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--rdzv-backend=c10d', '--rdzv-endpoint=localhost:0', str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith('REPORT ')]
    assert len(lines) == 2, result.stderr[-3000:]
    return [json.loads(line.removeprefix('REPORT ')) for line in lines]


@pytest.mark.parametrize('method', METHODS)
def test_an_attack_leaves_no_trace_on_any_rank(reports, method):
    assert all(report[method]['clean'] and report[method]['change'] > 0 for report in reports)


# Of SimCLR the views of an image together, of MoCo-v3 the keys of each view.
@pytest.mark.parametrize(
    'method, count, shape', [('SimSiam', 0, None), ('SimCLR', 1, [8, 16]), ('MoCoV3', 2, [4, 16])]
)
def test_every_rank_gathers_the_same_number_of_times(reports, method, count, shape):
    for report in reports:
        assert report[method]['attack'] == [count] * 3
        assert report[method]['step'] == [shape] * count


@pytest.mark.parametrize('method', METHODS)
def test_ranks_learn_the_same_from_images_of_their_own(reports, method):
    first, second = (report[method] for report in reports)
    assert first['weights'] == second['weights']
    assert first['own'] != second['own']  # the batch norms' statistics
