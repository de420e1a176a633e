"""One HTML page of all that runs have: nothing else is needed to read it, and no script runs."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing
from projects.dat.training.attack_pictures import COLUMNS

from . import plots
from .comparison import Comparison
from .inline_pictures import Picture, inline
from .report import PICTURES, cell_tables, notes, summary_tables
from .results import Result
from .run_folders import Run, find_runs
from .show import FOLDER
from .svg import Svg, draw_curves, line_style, to_svg
from .tables import Table, from_markdown

PAGE = 'report.html'
TEMPLATE = 'html_report.html.jinja'
LONG = 12  # rows; longer tables are folded
# What training logs, in the order of the page; all else is folded.
CURVES = {
    'loss': 'Training loss',
    'attack/token_change': 'Share of tokens that the attack changes',
    'attack/objective_before': 'Loss before the attack',
    'attack/objective_after': 'Loss after the attack',
    'attack/rise': 'Rise of the loss by the attack',
    'attack/alpha': 'Step size of the attack',
    'attack/skipped': 'Batches that were not attacked',
}
NO_CURVES = ('epoch', 'iter', 'step')
PLOTS = {
    plots.severity_curves: 'A panel for each group of test sets: the metric by severity or '
    'strength, a line for each method',
    plots.difference_heatmaps: 'A panel for each method: its difference from the first, by '
    'corruption and severity',
    plots.clean_against_corrupted: 'The metric on corrupted images against that on clean ones, a '
    'point for each method',
}
IN_TABLES = 'The tables have the figures.'


@dataclass
class Robustness:
    """Results side by side: of one file name, or of a comparison."""

    title: str
    tables: list[Table]
    folded: list[Table]
    plots: list[Svg | Picture]
    notes: list[str]
    measured: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Curve:
    """A quantity that was logged: what it is called on the page and in the log, and its plot."""

    title: str
    name: str
    plot: Svg


@dataclass
class Family:
    """Trainings whose curves are drawn together."""

    title: str
    legend: list[tuple[str, dict]]
    shown: list[Curve]
    folded: list[Curve]


@dataclass
class Analysis:
    """What tools/analyze.py wrote into one folder."""

    title: str
    summary: str
    pictures: list[Picture]
    table: Table | None


def write_page(root: str | Path) -> Path:
    """Write ``report.html`` into a folder, on all runs at and below it.

    Args:
        root: The work dir of a run, or a folder of runs, such as that of a comparison or the demo.

    Returns:
        The page.

    Raises:
        UserError: The folder does not exist or has nothing to show, or the page cannot be written.
    """
    root = Path(root)
    methods = find_runs(root)
    amiss = [text for runs in methods.values() for run in runs for text in run.results[1]]
    content = dict(
        robustness=_robustness(root, methods),
        families=_families(methods),
        attacks=_attacks(methods, amiss),
        examples=_examples(root, methods, amiss),
        analyses=_analyses(root, methods, amiss),
    )
    if not any(content.values()):
        raise UserError(
            f'{root} has nothing to report on: expected the log of a training, results, pictures '
            'or analyses in it or below; train with --work-dir, or evaluate with '
            'tools/test_robustness.py --work-dir, into that folder first'
        )
    same, differing = _facts(methods)
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    ).get_template(TEMPLATE).render(
        **content, title=_title(root), root=str(root.resolve()), methods=methods, same=same,
        differing=differing, amiss=amiss, long=LONG,
        configs={method: runs[0].config_text for method, runs in methods.items()},
    )
    path = root / PAGE
    with replacing(path) as temporary:
        temporary.write_text(page, encoding='utf-8')
    return path


def _title(root: Path) -> str:
    path = root.resolve()
    return f'{path.parent.name}, {path.name}' if path.name.startswith('seed') else path.name


def _facts(methods: Mapping[str, Sequence[Run]]) -> tuple[dict[str, str], Table | None]:
    """What is the same for all methods, and a table of what is not."""
    facts = {}
    for method, runs in methods.items():
        facts[method] = {}
        for run in runs:
            for name, value in run.facts().items():
                facts[method].setdefault(name, {})[value] = None
    joined = {
        method: {name: ', '.join(values) for name, values in found.items()}
        for method, found in facts.items()
    }
    names = list(dict.fromkeys(name for found in joined.values() for name in found))
    values = {name: [found.get(name, '-') for found in joined.values()] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    same = {name: values[name][0] for name in names if name not in differing}
    if not differing:
        return same, None
    rows = [
        [method, *(values[name][i] for name in differing)] for i, method in enumerate(methods)
    ]
    return same, Table('How the methods differ', ['method', *differing], rows)


def _robustness(root: Path, methods: Mapping[str, Sequence[Run]]) -> list[Robustness]:
    by_file = {}
    for method, runs in methods.items():
        for run in runs:
            for name, result in run.results[0].items():
                by_file.setdefault(name, {}).setdefault(method, {})[run.seed] = result
    found = []
    for name, results in by_file.items():
        comparisons, why = _comparisons(results)
        for comparison in comparisons:
            title = name if len(comparisons) == 1 else f'{name}, {comparison.first}'
            found.append(_of_comparison(title, comparison, why))
    if not found and (root / 'comparison.md').is_file():
        tables, others = from_markdown((root / 'comparison.md').read_text(errors='replace'))
        drawn = {draw: root / file for file, draw in PICTURES.items() if (root / file).is_file()}
        pictures = [inline(file, '', f'{PLOTS[draw]}. {IN_TABLES}') for draw, file in drawn.items()]
        found.append(Robustness('comparison.md', tables[:2], tables[2:], pictures, others))
    return found


def _comparisons(
    results: Mapping[str, Mapping[int, Result]],
) -> tuple[list[Comparison], list[str]]:
    """One of the seeds and cells that all methods have, or one of each run; and a note on it."""
    runs = [result for of_method in results.values() for result in of_method.values()]
    seeds = set.intersection(*map(set, results.values()))
    cells = set.intersection(*(set(result.cells) for result in runs))
    left_out = []
    if (count := len(runs) - len(seeds) * len(results)) > 0:
        left_out.append(f'{count} of {len(runs)} runs, whose seed not all methods have')
    if (count := len(set().union(*(result.cells for result in runs))) - len(cells)) > 0:
        left_out.append(f'{count} test sets that not all runs have')
    if seeds and cells:
        try:
            together = Comparison({
                method: [
                    Result(found[seed].identity, {x: found[seed].cells[x] for x in cells})
                    for seed in sorted(seeds)
                ] for method, found in results.items()
            })
            return [together], [f'Not compared: {"; ".join(left_out)}.'] if left_out else []
        except UserError as error:
            left_out = [str(error)]
    alone = [
        Comparison({f'{method}, seed {seed}' if len(runs) > 1 else method: [result]})
        for method, found in results.items() for seed, result in found.items()
    ]
    return alone, [f'Each run stands alone: {"; ".join(left_out)}.']


def _of_comparison(title: str, comparison: Comparison, why: list[str]) -> Robustness:
    drawn = [
        to_svg(lambda draw=draw: draw(comparison), f'{title}: {words}. {IN_TABLES}')
        for draw, words in PLOTS.items()
        if comparison.others or draw is plots.severity_curves  # a point alone says nothing
    ]
    summary, cells = summary_tables(comparison), cell_tables(comparison)
    folded = cells if summary and comparison.others else []
    identity = comparison.example.identity
    measured = [
        {'config': identity.config, 'metric': identity.metric, **identity.packages},
        *({'test set': name, **_shortened(facts)} for name, facts in identity.data.items()),
    ]
    if len(comparison.methods) == comparison.seeds == 1:
        measured[0] = {'checkpoint': identity.checkpoint, **measured[0]}
    return Robustness(
        title, summary + [x for x in cells if x not in folded], folded, [x for x in drawn if x],
        [*why, *notes(comparison)], measured,
    )


def _shortened(facts: Mapping[str, str | int]) -> dict[str, str]:
    return {
        name: str(value)[:8] if name.endswith('_sha256') else str(value)
        for name, value in facts.items()
    }


def _families(methods: Mapping[str, Sequence[Run]]) -> list[Family]:
    """Only trainings beside each other have axes in common."""
    by_place = {}
    for method, runs in methods.items():
        if any(any(run.scalars) for run in runs):
            by_place.setdefault(runs[0].place, {})[method] = runs
    families = []
    for place, found in by_place.items():
        title = next(iter(found)) if len(found) == 1 else place.name
        numbers = {method: i for i, method in enumerate(found)}
        legend = [(method, line_style(i)) for method, i in numbers.items()]
        families.append(Family(title, legend, *_curves(found, numbers)))
    return families


def _curves(
    methods: Mapping[str, Sequence[Run]], numbers: Mapping[str, int]
) -> tuple[list[Curve], list[Curve]]:
    """Those to be shown, and those to be folded."""
    lines = {}  # by whether they are of validation, and by name
    for method, runs in methods.items():
        for run in runs:
            for validation, found in enumerate(run.scalars):
                for name, series in found.items():
                    of_name = lines.setdefault((validation, name), {})
                    of_name.setdefault(method, []).append(series)
    metric = next((name for validation, name in lines if validation), None)
    unit = 'iteration', next(iter(methods.values()))[0].validated_by
    shown, folded = [], []
    for validation, name in sorted(lines, key=_place):
        by_method = lines[validation, name]
        values = {y for runs in by_method.values() for series in runs for y in series.values()}
        if name in NO_CURVES or (name == 'attack/skipped' and values == {0}):
            continue
        title = f'Validation: {name}' if validation else CURVES.get(name, name)
        curve = Curve(title, name, draw_curves(title, by_method, numbers, unit[validation]))
        wanted = name == metric if validation else name in CURVES
        (shown if wanted else folded).append(curve)
    return shown, folded


def _place(key: tuple[int, str]) -> tuple:
    """The loss first, then validation, then the attack; all else by name."""
    validation, name = key
    known = list(CURVES)
    at = 0.5 if validation else known.index(name) if name in known else len(known)
    return at, name


def _attacks(methods: Mapping[str, Sequence[Run]], amiss: list[str]) -> list[Picture]:
    """Of one method the first and the last picture; of several the last of each, of one seed."""
    pictures = []
    for runs in methods.values():
        run, files = next(((run, x) for run in runs if (x := _attack_files(run))), (None, {}))
        steps = sorted(files)
        for step in steps[:1] * (len(methods) == 1 and len(steps) > 1) + steps[-1:]:
            caption = f'{run.title}, iteration {step}'
            alt = f'{caption}: rows of training images, in columns {", ".join(COLUMNS)}.'
            pictures += _inlined(files[step], caption, alt, amiss)
    return pictures


def _attack_files(run: Run) -> dict[int, Path]:
    """By iteration; a later start's count."""
    files = {}
    for start in run.starts:
        for file in (start / 'vis_data' / 'vis_image').glob('attack_*.png'):
            if (step := file.stem.removeprefix('attack_')).isdigit():
                files[int(step)] = file
    return files


def _examples(
    root: Path, methods: Mapping[str, Sequence[Run]], amiss: list[str]
) -> list[Picture]:
    """Pictures of test images: of each method those of one seed."""
    pictures, seen = [], set()
    for title, folder in _places(root, methods):
        files = sorted((folder / FOLDER).glob('*.png'))
        method = title.rpartition(', seed')[0]
        if method in seen:
            continue
        seen |= {method} if files else set()
        for file in files:
            caption = ': '.join(filter(None, [title, file.stem]))
            alt = f'{caption}: a test image, clean and changed, with what the model finds.'
            pictures += _inlined(file, caption, alt, amiss)
    return pictures


def _analyses(
    root: Path, methods: Mapping[str, Sequence[Run]], amiss: list[str]
) -> list[Analysis]:
    analyses = []
    for title, parent in _places(root, methods):
        for folder in sorted(x for x in (parent / 'analyses').glob('*') if x.is_dir()):
            name = folder.name.replace('_', ' ')
            text, rows = folder / 'summary.md', folder / 'table.csv'
            summary = text.read_text(errors='replace').strip() if text.is_file() else ''
            pictures = [
                picture for file in sorted(folder.glob('*.png'))
                for picture in _inlined(
                    file, file.stem.replace('_', ' '), f'{file.stem}: {summary or name}', amiss
                )
            ]
            table = _read_csv(rows, f'{name}: the figures') if rows.is_file() else None
            if summary or pictures or table:
                heading = f'{name}, {title}' if title else name
                analyses.append(Analysis(heading, summary, pictures, table))
    return analyses


def _places(root: Path, methods: Mapping[str, Sequence[Run]]) -> Iterator[tuple[str, Path]]:
    """Folders that may hold pictures and analyses, and what they are called beside others."""
    yield '', root
    for runs in methods.values():
        for run in runs:
            title = run.title if len(methods) > 1 or len(runs) > 1 else ''
            if run.folder != root:
                yield title, run.folder
            yield title, run.folder / 'evaluation'  # where tools/compare.py evaluates


def _inlined(file: Path, caption: str, alt: str, amiss: list[str]) -> list[Picture]:
    try:
        return [inline(file, caption, alt)]
    except (OSError, ValueError) as error:
        amiss.append(f'{file} cannot be read as a picture: {error}')
        return []


def _read_csv(file: Path, title: str) -> Table | None:
    with open(file, newline='', errors='replace') as stream:
        rows = [row for row in csv.reader(stream) if row]
    return Table(title, rows[0], [[_rounded(x) for x in row] for row in rows[1:]]) if rows else None


def _rounded(text: str) -> str:
    """Full precision is for the file."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= 8 or number.is_integer() else f'{number:.4g}'
