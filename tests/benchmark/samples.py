"""A benchmark with made-up samples, for tests to read."""

from projects.dat.benchmark.results import BASE, PLAIN, RECIPE, STEP, BenchmarkResult, Measurement

FAST = 'fast fp32'


def make_result(device='cpu', sizes=(256, 512), batches=(1, 2)) -> BenchmarkResult:
    """Two sizes and batches, three rounds of which the second ran on a machine half as fast.

    With s the pixels of the batch over those of 256 x 256, plain steps took s seconds, the fast
    ones 3, 3.5 and 2.9 times as long, and the recipe 100 times; it was skipped in the last group.
    """
    result = BenchmarkResult(
        command=['tools/benchmark.py', '--out', 'a folder'],
        detector='configs/efficientdet_512.py',
        device=device,
        seed=0,
        machine=dict(device='a machine', threads=1),
        notes=['published: random weights.'],
    )
    for size in sizes:
        for batch in batches:
            unit = (size / 256) ** 2 * batch

            def add(row, quantity, *ratios, unit=unit, size=size, batch=batch, **fields):
                seconds = [
                    unit * slow * ratio for slow, ratio in zip((1, 2, 1), ratios, strict=True)
                ]
                m = Measurement(size, batch, row, quantity, seconds=seconds, **fields)
                result.measurements.append(m)

            add(PLAIN, STEP, 1, 1, 1, peak_bytes=100 << 20)
            # Each row has a plain step of its own; the recipe's met a machine half as fast.
            add(FAST, BASE, 1, 1, 1)
            add(RECIPE, BASE, 2, 2, 2)
            for quantity, share in (
                ('tokenize', 0.2), ('search', 0.1), ('detokenize', 0.1), ('reconstruct', 0.3),
                ('attack', 1.25),
            ):
                add(FAST, quantity, share, share, share)
            add(FAST, STEP, 3, 3.5, 2.9, peak_bytes=180 << 20)
            add(RECIPE, STEP, 200, 200, 200, peak_bytes=900 << 20)
    if len(sizes) * len(batches) > 1:
        last = result.measurements[-1]
        last.seconds, last.peak_bytes, last.skipped = [], None, 'its matrices need too much.'
    return result
