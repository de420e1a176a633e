"""A benchmark as tables."""

from collections.abc import Callable

from projects.dat.evaluation.tables import Table

from .results import BASE, BOUND, PARTS, PLAIN, STEP, BenchmarkResult, Measurement, Spread

# The search is a part of `tokenize`, and the product what it is measured by.
_HEADER = ['tokenize', '(search)', '(product)', 'detokenize', 'reconstruct', 'attack', STEP]
LEGEND = (
    'Ratios are to a plain step timed just before in the same round, medians over the rounds; the '
    f'bound, with a tokenizer that costs nothing, is 8/3 = {BOUND:.2f}. "(search)" is part of '
    '"tokenize"; "(product)" is one bf16 matrix product of the search\'s shape, written and read '
    'once; "attack" has two passes through the tokenizer and the data preprocessor in it, '
    'and is part of "step". Memory is the peak of a step beyond weights and optimizer. On a GPU, '
    "the tokenizers' fp32 is never TF32; detectors and the published recipe have torch's defaults."
)


def ratio_tables(result: BenchmarkResult) -> list[Table]:
    """A table per image size and batch; a row per case, everything relative to the plain step."""
    tables = []
    for size, batch in result.groups:
        rows = []
        for row in result.rows:
            spreads = _spreads(result, result.ratio, size, batch, row)
            step = spreads[STEP]
            speed = '-' if step is None else number(1 / step.median)
            memory = result.find(size, batch, row).peak_bytes
            memory = '-' if memory is None else f'{memory / 2**20:.0f}'
            rows.append([row, *_medians(spreads), _range(step), speed, memory])
        header = ['case', *_HEADER, 'min..max', 'speed', 'peak MiB']
        tables.append(Table(f'{size} px, batch {batch} (plain step = 1)', header, rows))
    return tables


def time_tables(result: BenchmarkResult) -> list[Table]:
    """A table per image size and batch in milliseconds; images per second of the steps."""
    tables = []
    for size, batch in result.groups:
        rows = []
        for row in result.rows:
            spreads = _spreads(result, _milliseconds, size, batch, row)
            step = spreads[STEP]
            speed = '-' if step is None else number(1000 * batch / step.median)
            rows.append([row, *_medians(spreads), _range(step), speed])
        header = ['case', *_HEADER, 'min..max', 'images/s']
        tables.append(Table(f'{size} px, batch {batch} (milliseconds)', header, rows))
    return tables


def spread_tables(result: BenchmarkResult) -> list[Table]:
    """A table per image size and batch with the spread and the memory of every quantity."""
    value = _milliseconds if result.device == 'cuda' else result.ratio
    unit = 'milliseconds' if result.device == 'cuda' else 'plain step = 1'
    header = ['case', 'median', 'min', 'max', 'calls a sample', 'peak MiB']
    tables = []
    for size, batch in result.groups:
        rows = []
        for m in result.measurements:
            spread = value(m)
            if (m.size, m.batch) != (size, batch) or spread is None:
                continue
            name = m.row if m.row == PLAIN else f'{m.row}: {m.quantity}'
            memory = '-' if m.peak_bytes is None else f'{m.peak_bytes / 2**20:.0f}'
            numbers = map(number, (spread.median, spread.low, spread.high))
            rows.append([name, *numbers, str(m.calls), memory])
        tables.append(Table(f'{size} px, batch {batch}, every quantity ({unit})', header, rows))
    return tables


def skipped_lines(result: BenchmarkResult) -> list[str]:
    """A line for each case that was left out."""
    return [
        f'{m.row}, {m.quantity}, {m.size} px, batch {m.batch}: skipped, {m.skipped}'
        for m in result.measurements
        if m.skipped and m.quantity != BASE
    ]


def change_table(result: BenchmarkResult) -> Table | None:
    """What lower precisions change against fp32, or None where that was not measured."""
    if not result.precision_changes:
        return None
    rows = [
        [
            changes['row'],
            f'{100 * changes["encode_changed_tokens"]:.2f} %',
            f'{100 * changes["decode_changed_tokens"]:.2f} %',
            f'{changes["decode_mean_change"]:.2f}',
            f'{changes["decode_max_change"]:.1f}',
        ]
        for changes in result.precision_changes
    ]
    first = result.precision_changes[0]
    title = f'Changes against fp32, {first["images"]} photographs of {first["size"]} px'
    columns = ['tokens, encode', 'tokens, decode', 'mean pixel (1/255)', 'max pixel (1/255)']
    return Table(title, ['case', *columns], rows)


def number(value: float) -> str:
    """Three significant digits; whole from 100 on."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    text = f'{value:.{digits}f}'
    return f'{value:.1g}' if value > 0 and not float(text) else text


def _spreads(
    result: BenchmarkResult,
    value: Callable[[Measurement], Spread | None],
    size: int,
    batch: int,
    row: str,
) -> dict[str, Spread | None]:
    found = {quantity: result.find(size, batch, row, quantity) for quantity in (*PARTS, STEP)}
    return {quantity: m and value(m) for quantity, m in found.items()}


def _medians(spreads: dict[str, Spread | None]) -> list[str]:
    return ['-' if spread is None else number(spread.median) for spread in spreads.values()]


def _range(spread: Spread | None) -> str:
    return '-' if spread is None else f'{number(spread.low)}..{number(spread.high)}'


def _milliseconds(measurement: Measurement) -> Spread | None:
    return Spread.of(1000 * seconds for seconds in measurement.seconds)
