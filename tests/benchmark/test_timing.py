import subprocess
import sys
from pathlib import Path

import pytest
import torch

from projects.dat.benchmark import timing
from projects.dat.benchmark.results import Measurement
from projects.dat.benchmark.timing import Case, Timer, run_rounds

CPU = torch.device('cpu')
ROOT = Path(__file__).resolve().parents[2]


def make(name, call, **fields):
    return Case(Measurement(256, 1, name, 'step', **fields), call)


def test_cases_run_in_turn(monkeypatch):
    monkeypatch.setattr(timing, 'SAMPLE_SECONDS', 0)
    order, reports = [], []
    cases = [make(name, lambda name=name: order.append(name)) for name in 'abc']
    cases.append(make('d', lambda: order.append('d'), skipped='too large'))
    run_rounds(cases, 2, Timer(CPU), lambda done, left: reports.append((done, left, len(order))))
    # Two calls each to warm up, then one a round.
    assert ''.join(order) == 'aabbcc' + 'abc' * 2
    assert [(done, calls) for done, _, calls in reports] == [(0, 6), (1, 9), (2, 12)]
    assert reports[-1][1] == 0
    assert [len(case.measurement.seconds) for case in cases] == [2, 2, 2, 0]


def test_short_calls_are_repeated_within_a_sample(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(timing.time, 'process_time', lambda: next(clock) * 0.1)
    calls = []
    case = make('a', lambda: calls.append(None))
    timer = Timer(CPU)
    # Each call lasts a tenth of a second by this clock, a sample three.
    assert timer.warm_up(case) == pytest.approx(0.3)
    assert case.measurement.calls == 3 and len(calls) == 2
    timer.sample(case)
    assert len(calls) == 5
    assert case.measurement.seconds == pytest.approx([0.1 / 3])


def test_one_thread_is_timed_by_the_processor(monkeypatch):
    assert Timer(CPU).clock == 'processor'
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    assert Timer(CPU).clock == 'wall'


def test_a_long_call_warms_up_once(monkeypatch):
    monkeypatch.setattr(timing, 'LONG_SECONDS', 0)
    calls = []
    Timer(CPU).warm_up(make('a', lambda: calls.append(None)))
    assert len(calls) == 1


def test_a_case_that_runs_out_of_memory_is_skipped():
    def call():
        raise torch.OutOfMemoryError('Tried to allocate 8 GiB.\nMore.')

    others = []
    cases = [make('a', call), make('b', lambda: others.append(None))]
    run_rounds(cases, 1, Timer(CPU), lambda done, left: None)
    assert 'Tried to allocate 8 GiB.' in cases[0].measurement.skipped
    assert '\n' not in cases[0].measurement.skipped
    assert cases[0].measurement.seconds == [] and len(cases[1].measurement.seconds) == 1


def test_other_errors_are_not_hidden():
    def call():
        raise RuntimeError('shapes')

    with pytest.raises(RuntimeError, match='shapes'):
        Timer(CPU).warm_up(make('a', call))


# Two tensors of 48 MiB after one another, and a third of 16 beside the second.
PEAK = """
import torch
from projects.dat.benchmark.results import Measurement
from projects.dat.benchmark.timing import Case, Timer

def call():
    torch.ones(12 << 20)
    large = torch.ones(12 << 20)
    return large[: 4 << 20] + 1

case = Case(Measurement(256, 1, 'a', 'step'), call)
Timer(torch.device('cpu')).warm_up(case)
print(case.measurement.peak_bytes)
"""


def test_peak_memory_is_what_the_call_holds_at_once():
    """In a fresh process, whose heap has no gaps that earlier tests have left."""
    result = subprocess.run([sys.executable, '-c', PEAK], cwd=ROOT, capture_output=True, text=True)
    assert int(result.stdout) == pytest.approx(64 << 20, rel=0.15), result.stderr


def test_a_gpu_is_waited_for_around_the_calls_and_never_inside(monkeypatch):
    order = []
    levels = iter([100, 130, 100, 170])  # before and at most, of each call
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: order.append('wait'))
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: next(levels))
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: next(levels))
    case = make('a', lambda: order.append('call'))
    timer = Timer(torch.device('cuda'))
    timer.warm_up(case)
    # The first call chooses algorithms and compiles; the memory is the second one's.
    assert order == ['wait', 'call', 'wait'] * 2
    assert timer.clock == 'wall' and case.measurement.peak_bytes == 70
    order.clear()
    case.measurement.calls = 3
    timer.sample(case)
    assert order == ['wait', 'call', 'call', 'call', 'wait']
