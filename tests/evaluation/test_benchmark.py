import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from projects.dat.evaluation import benchmark
from projects.dat.evaluation.benchmark import Row, load_costs, make_batch, make_steps, measure
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.methods import PLAIN, methods_of
from projects.dat.tokenizer import (
    VQGAN,
    FastVQGAN,
    Tokenizer,
    load_tokenizer,
    write_state_dict,
)
from projects.dat.training.split_bn import split_batch_norms
from tests.training.coco_case import coco_config
from tests.training.folder_case import folder_config, write_folders

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('tokenizer') / 'tiny.safetensors'
    write_state_dict(FastVQGAN(width=8, num_tokens=64).state_dict(), path, {})
    return str(path)


@pytest.fixture
def calls(monkeypatch):
    """Names of the tokenizer's methods that were called."""
    found = []
    for name in ('tokenize', 'detokenize'):
        method = getattr(Tokenizer, name)

        def watched(self, *args, name=name, method=method, **options):
            found.append(name)
            return method(self, *args, **options)

        monkeypatch.setattr(Tokenizer, name, watched)
    return found


METHODS = methods_of(['plain', 'dat', 'random_tokens', 'det_advprop'])


def build(cfg, tiny, precisions=('fp32', 'bf16')):
    return make_steps(cfg, METHODS, {'tiny': tiny}, list(precisions), tiny, CPU, seed=0)


def test_costs_are_ratios_within_a_round(tmp_path):
    """The second round ran on a machine half as fast; the last row ran out of memory."""
    rows = [
        Row('dat', 'tiny bf16', 256, 2, 3, [3, 7, 2.9], [1, 2, 1], 180 << 20),
        Row('recipe', '', 512, 4, stopped='out of memory'),
    ]
    assert rows[0].ratios == pytest.approx([3, 3.5, 2.9])
    table = benchmark.to_table('a title', rows)
    assert table.title == 'a title'
    assert [len(row) for row in table.rows] == [len(table.header)] * 2
    assert table.rows[0] == ['dat', 'tiny bf16', '256', '2', '3.00', '2.90..3.50', '3', '180']
    assert table.rows[1] == ['recipe', '', '512', '4', '-', 'out of memory', '-', '-']
    benchmark.save(tmp_path / 'new' / 'b.json', rows, machine=dict(device='x'))
    content = json.loads((tmp_path / 'new' / 'b.json').read_text())
    assert content['machine'] == dict(device='x')
    assert [Row(**row) for row in content['rows']] == rows
    assert load_costs(tmp_path / 'new' / 'b.json') == dict(dat=3)


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'tools/benchmark.py'),
        ('[]', 'tools/benchmark.py'),
        ('{"rows": [{"step": "dat"}]}', 'tools/benchmark.py'),
        ([Row('dat', x, 256, 2, 1, [3], [1]) for x in 'ab'], 'several of dat'),
    ],
)
def test_costs_that_are_none(tmp_path, content, message):
    path = tmp_path / 'b.json'
    if isinstance(content, list):
        benchmark.save(path, content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_costs(path)


def test_images_and_boxes():
    data = make_batch(3, 128, seed=0)
    again = make_batch(3, 128, seed=0)
    assert len(data['inputs']) == len(data['data_samples']) == 3
    for image, same, sample in zip(
        data['inputs'], again['inputs'], data['data_samples'], strict=True
    ):
        assert image.dtype == torch.uint8 and image.shape == (3, 128, 128)
        assert len(image.unique()) > 200 and torch.equal(image, same)
        boxes = sample.gt_instances.bboxes
        assert len(boxes) == len(sample.gt_instances.labels) == 7
        assert (boxes >= 0).all() and (boxes <= 128).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()


def test_every_step_trains_as_its_fragment_says(tmp_path, tiny, calls):
    cfg = coco_config(tmp_path)
    cfg.model.backbone.norm_eval = False
    # Nothing is added to an image, whatever the config pads.
    cfg.model.data_preprocessor.pad_size_divisor = 512
    cfg.model.data_preprocessor.batch_augments = [dict(type='BatchFixedSizePad', size=(256, 256))]
    steps = build(cfg, tiny)
    assert list(steps) == [
        ('plain', ''), ('dat', 'tiny fp32'), ('dat', 'tiny bf16'), ('random_tokens', 'tiny fp32'),
        ('random_tokens', 'tiny bf16'), ('det_advprop', ''), ('published recipe', ''),
    ]
    data = make_batch(2, 64, seed=0)
    # The attack's reconstruction, which noise has no use for, and what it found.
    passes = {
        'dat': ['tokenize', 'detokenize'] * 2,
        'random_tokens': ['tokenize', 'tokenize', 'detokenize'],
    }
    for (name, tokenizer), step in steps.items():
        if name != 'published recipe':
            model, _, adversary = step.args
            before = [p.detach().clone() for p in model.parameters()]
            shapes = []
            hook = model.backbone.register_forward_pre_hook(
                lambda module, args, shapes=shapes: shapes.append(tuple(args[0].shape))
            )
        step(data)  # the first one calibrates
        calls.clear()
        step(data)
        assert calls == passes.get(name, [])
        if name == 'published recipe':
            continue
        hook.remove()
        assert shapes[-1] == (2 if name == 'plain' else 4, 3, 64, 64)
        assert all(map(torch.equal, before, model.parameters()))
        norms = split_batch_norms(model)
        assert bool(norms) == (name != 'plain')
        assert all(norm.split == ('clean' if name in passes else 'aux') for norm in norms)
        if name in passes:
            assert adversary.attack.controller is not None
            assert set(adversary.attack.tokenizer.precision.values()) == {tokenizer.split()[-1]}


def test_a_classifiers_steps(tmp_path, tiny):
    cfg = folder_config(write_folders(tmp_path))
    steps = make_steps(
        cfg, methods_of(['dat', 'advprop']), {'tiny': tiny}, ['fp32'], tiny, CPU, seed=0
    )
    assert list(steps) == [
        ('plain', ''), ('dat', 'tiny fp32'), ('advprop', ''), ('published recipe', '')
    ]
    data = make_batch(2, 32, seed=0, classifier=True)
    assert [sample.gt_label.tolist() for sample in data['data_samples']] == [[0], [0]]
    for step in steps.values():
        step(data)


def test_a_detector_that_cannot_be_trained_so(tmp_path, tiny, caplog):
    """Its batch norms are frozen: there is no auxiliary one for Det-AdvProp."""
    with caplog.at_level(logging.WARNING):
        steps = build(coco_config(tmp_path), tiny, ['fp32'])
    assert ('det_advprop', '') not in steps and ('dat', 'tiny fp32') in steps
    assert 'det_advprop is left out' in caplog.text and 'thaw' in caplog.text


def test_nothing_is_fetched(monkeypatch, tiny):
    def fetch(*args, **kwargs):
        raise AssertionError('no network in a benchmark')

    monkeypatch.setattr('mmengine.runner.checkpoint._load_checkpoint', fetch)
    monkeypatch.setattr('mmengine.runner.checkpoint._load_checkpoint_with_prefix', fetch)
    cfg = Config.fromfile(ROOT / 'configs/efficientdet_512.py')
    assert ('plain', '') in build(cfg, tiny, ['fp32'])
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'


def test_masks_are_refused(tmp_path, tiny):
    cfg = coco_config(tmp_path)
    cfg.model.roi_head = dict(mask_head=dict(type='FCNMaskHead'))
    with pytest.raises(UserError, match='boxes only'):
        build(cfg, tiny)


def test_the_published_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, 'VQGAN', lambda: VQGAN(ch=32, num_tokens=64))
    benchmark.published_layout(tmp_path / 'p.safetensors')
    codebook = load_tokenizer(tmp_path / 'p.safetensors').codebook
    assert codebook.shape == (64, 4) and 0.4 < codebook.std() < 0.6


def note(order, name):
    return lambda data: order.append((name, len(data['inputs'])))


def test_steps_run_in_turn_each_behind_a_plain_one(monkeypatch):
    monkeypatch.setattr(benchmark, '_MAX_CALLS', 1)
    order, reports = [], []
    steps = {(name, ''): note(order, name) for name in ('plain', 'a', 'b')}
    for rows in measure(steps, [(64, 1), (64, 2)], 2, CPU, seed=0):
        reports.append((len(order), [len(row.ratios) for row in rows]))
    warm = [(name, n) for n in (1, 2) for name, _ in steps for _ in range(2)]
    one = [(name, n) for n in (1, 2) for own, _ in steps for name in ('plain', own)]
    assert order == warm + one + one
    assert reports == [(12, [0] * 6), (24, [1] * 6), (36, [2] * 6)]


def test_out_of_memory_stops_a_row_and_nothing_else():
    def call(data):
        raise torch.OutOfMemoryError('Tried to allocate 8 GiB.')

    steps = {(PLAIN, ''): bool, ('large', ''): call, ('other', ''): bool}
    *_, rows = measure(steps, [(64, 1)], 1, CPU, seed=0)
    assert [row.stopped for row in rows] == [None, 'out of memory', None]
    assert [len(row.seconds) for row in rows] == [1, 0, 1]


def test_other_errors_are_not_hidden():
    def call(data):
        raise RuntimeError('shapes')

    with pytest.raises(RuntimeError, match='shapes'):
        list(measure({(PLAIN, ''): call}, [(64, 1)], 1, CPU, seed=0))


@pytest.mark.parametrize('threads, clock', [(1, 'process_time'), (2, 'perf_counter')])
def test_short_steps_are_repeated_within_a_sample(monkeypatch, threads, clock):
    ticks = iter(range(1000))
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    # Each sample lasts a tenth of a second by this clock.
    monkeypatch.setattr(time, clock, lambda: next(ticks) * 0.1)
    taken = []
    *_, (row,) = measure({(PLAIN, ''): taken.append}, [(64, 1)], 1, CPU, seed=0)
    assert row.calls == 3 and len(taken) == 2 + 2 * 3
    assert row.seconds == pytest.approx([0.1 / 3])


def test_a_gpu_is_waited_for_around_the_steps_and_never_inside(monkeypatch):
    order, levels = [], iter([100, 170])
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: order.append('wait'))
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: None)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda: next(levels))
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: next(levels))
    device, row = torch.device('cuda'), Row('a', '', 64, 1)
    benchmark._warm_up(row, lambda data: order.append('step'), {}, device)
    # The first step chooses algorithms and compiles; time and memory are the second one's.
    assert order == ['step', 'wait', 'step', 'wait'] and row.peak_bytes == 70
    order.clear()
    benchmark._seconds(lambda data: order.append('step'), {}, 3, device)
    assert order == ['wait', 'step', 'step', 'step', 'wait']


# Two tensors of 48 MiB after one another, and a third of 16 beside the second.
PEAK = """
import projects.dat.register, torch
from projects.dat.evaluation.benchmark import Row, _warm_up

def step(data):
    torch.ones(12 << 20)
    large = torch.ones(12 << 20)
    return large[: 4 << 20] + 1

row = Row('a', '', 256, 1)
_warm_up(row, step, {}, torch.device('cpu'))
print(row.peak_bytes)
"""


def test_peak_memory_is_what_a_step_holds_at_once():
    """In a fresh process, whose heap has no gaps that earlier tests have left."""
    command = [sys.executable, '-W', 'ignore', '-c', PEAK]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    peak = int(result.stdout.split()[-1])  # packages may say something when they are imported
    assert peak == pytest.approx(64 << 20, rel=0.15), result.stderr
