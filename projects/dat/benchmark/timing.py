"""Timing of cases in turn, and their memory."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .results import Measurement

# A sample is the mean of as many calls in a row as take this long: a single short call says little,
# and training, too, queues its steps one behind the other.
SAMPLE_SECONDS = 0.3
MAX_CALLS = 20

# On a CPU a call that takes this long needs no second one to warm up.
LONG_SECONDS = 2.0


@dataclass
class Case:
    """A call to be timed, and where its samples go."""

    measurement: Measurement
    call: Callable[[], object]


class Timer:
    """Times calls on one device and reads their peak memory.

    The device is waited for around the calls, never inside. One CPU thread is timed by its
    processor time, which other programs on the machine change little; several threads wait for each
    other, and are timed by the clock on the wall.

    Args:
        device: CPU or CUDA device.

    Attributes:
        clock: 'processor' or 'wall'.
    """

    def __init__(self, device: torch.device):
        self.device = device
        single = device.type == 'cpu' and torch.get_num_threads() == 1
        self.clock = 'processor' if single else 'wall'
        self._now = time.process_time if single else time.perf_counter
        self.memory = _CudaPeak(device) if device.type == 'cuda' else _HostPeak()

    def warm_up(self, case: Case) -> float:
        """Call a case once or twice, find its memory and how many calls make a sample.

        Returns:
            Seconds that a sample will take.
        """
        with _skip_without_memory(case):
            for _ in range(2):
                self.memory.start()
                seconds = self._seconds(case.call, 1)
                case.measurement.peak_bytes = self.memory.stop()
                if self.device.type == 'cpu' and seconds > LONG_SECONDS:
                    break
            calls = round(SAMPLE_SECONDS / max(seconds, SAMPLE_SECONDS / MAX_CALLS))
            calls = max(1, calls)
            case.measurement.calls = calls
            return calls * seconds
        return 0.0

    def sample(self, case: Case) -> None:
        """Add one sample to a case."""
        with _skip_without_memory(case):
            seconds = self._seconds(case.call, case.measurement.calls)
            case.measurement.seconds.append(seconds)

    def _seconds(self, call: Callable[[], object], calls: int) -> float:
        self._synchronize()
        start = self._now()
        for _ in range(calls):
            call()
        self._synchronize()
        return (self._now() - start) / calls

    def _synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)


def run_rounds(
    cases: list[Case], rounds: int, timer: Timer, after: Callable[[int, float], None]
) -> None:
    """Warm every case up, then sample all of them in turn, round by round.

    Whatever makes the machine slower or faster for a while thus meets all cases alike.

    Args:
        cases: In their order within a round; those with a reason to be skipped are.
        rounds: Number of samples of each case.
        timer: Of the cases' device.
        after: Called with the number of rounds done, first 0, and the seconds that the others will
            take.
    """
    expected = sum(timer.warm_up(case) for case in cases if not case.measurement.skipped)
    after(0, rounds * expected)
    for done in range(1, rounds + 1):
        start = time.perf_counter()
        for case in cases:
            if not case.measurement.skipped:
                timer.sample(case)
        after(done, (rounds - done) * (time.perf_counter() - start))


class _skip_without_memory:
    """Turns the lack of GPU memory into the reason why a case is skipped."""

    def __init__(self, case: Case):
        self.case = case

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> bool:
        if not isinstance(error, torch.OutOfMemoryError):
            return False
        self.case.measurement.skipped = f'ran out of memory ({str(error).splitlines()[0]})'
        torch.cuda.empty_cache()
        return True


class _CudaPeak:
    """Allocated memory of a GPU: the highest since ``start``, less that before."""

    def __init__(self, device: torch.device):
        self.device = device

    def start(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device)

    def stop(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) - self.before


class _HostPeak:
    """Resident memory of this process: the highest since ``start``, less that before.

    Linux only; elsewhere it is not known (https://man7.org/linux/man-pages/man5/proc.5.html,
    clear_refs).
    """

    def start(self) -> None:
        try:
            # Memory that was freed but is still held would hide what the call takes.
            ctypes.CDLL(None).malloc_trim(0)
            Path('/proc/self/clear_refs').write_text('5')
        except (AttributeError, OSError):
            self.before = None
        else:
            self.before = self._read('VmRSS')

    def stop(self) -> int | None:
        return None if self.before is None else self._read('VmHWM') - self.before

    def _read(self, name: str) -> int:
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith(f'{name}:'):
                return int(line.split()[1]) * 1024
        raise OSError(f'/proc/self/status has no {name}')
