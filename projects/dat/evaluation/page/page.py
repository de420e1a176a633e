"""One HTML page of all that runs have: nothing else is needed to read it, and no script runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing

from .. import plots
from ..comparison import Comparison
from ..report import PICTURES, cell_tables, metric_tables, notes, summary_tables
from ..results import Result
from ..tables import Table, from_markdown
from .inline_pictures import Picture
from .run_folders import SEED, Run, find_runs
from .run_pictures import analyses_of, attack_pictures, example_pictures, inlined
from .svg import Svg, to_svg
from .training_curves import families_of

PAGE = 'report.html'
TEMPLATE = 'page.html.jinja'
LONG = 12  # rows; longer tables are folded
PLOTS = {
    plots.severity_curves: 'A panel for each group of test sets: the metric by severity or '
    'strength, a line for each method',
    plots.difference_heatmaps: 'A panel for each method: its difference from the first, by '
    'corruption and severity',
    plots.clean_against_corrupted: 'The metric on corrupted images against that on clean ones, a '
    'point for each method',
    plots.time_against_corrupted: 'The metric on corrupted images against the time of training, a '
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
        robustness=_robustness(root, methods, amiss),
        families=families_of(methods),
        attacks=attack_pictures(methods, amiss),
        examples=example_pictures(root, methods, amiss),
        analyses=analyses_of(root, methods, amiss),
    )
    if not any(content.values()):
        raise UserError(
            f'expected the log of a training, results, pictures or analyses in {root} or below it, '
            f'but found {amiss[0] if amiss else "none"}: train with --work-dir, or evaluate with '
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
    return f'{path.parent.name}, {path.name}' if SEED.fullmatch(path.name) else path.name


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


def _robustness(
    root: Path, methods: Mapping[str, Sequence[Run]], amiss: list[str]
) -> list[Robustness]:
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
        pictures = [
            picture for name, draw in PICTURES.items() if (root / name).is_file()
            for picture in inlined(root / name, '', f'{PLOTS[draw]}. {IN_TABLES}', amiss)
        ]
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
        left_out.append(f'{count} cells that not all runs have')
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
    summary = summary_tables(comparison)
    cells = metric_tables(comparison) + cell_tables(comparison)
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
