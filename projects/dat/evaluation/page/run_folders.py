"""What runs leave in their folders: configs, logs, results. Nothing of it is executed."""

import ast
import csv
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from projects.dat.runtime.errors import UserError

from ..results import Result

# MMEngine makes a folder for each start of a run, named after the time.
START = re.compile(r'\d{8}_\d{6}')
SEED = re.compile(r'seed(\d+)')  # tools/compare.py's folders
DEPTH = 4  # of runs below a folder: demo/comparison/METHOD/seedN
VERSIONS = ('Python', 'PyTorch', 'TorchVision', 'OpenCV', 'MMEngine')  # in a log's first lines

Series = dict[float, float]
"""Values by iteration or epoch, in their order."""


@dataclass(frozen=True)
class Run:
    """The folder of a training, of evaluations, or of both.

    Args:
        folder: Its path.
        method: What it is called; runs of one method differ in their seeds.
        seed: As its folder says, or 0.
    """

    folder: Path
    method: str
    seed: int

    @property
    def title(self) -> str:
        return f'{self.method}, seed {self.seed}' if SEED.fullmatch(self.folder.name) else \
            self.method

    @property
    def place(self) -> Path:
        """Where runs of other methods lie, which it can be compared with."""
        return self.folder.parent.parent if SEED.fullmatch(self.folder.name) else self.folder.parent

    @cached_property
    def starts(self) -> list[Path]:
        """The folders of its starts, the oldest first."""
        return sorted(path for path in self.folder.iterdir() if START.fullmatch(path.name))

    @cached_property
    def probes(self) -> list[Path]:
        """Folders of classifiers on its backbone, which tools/compare.py --probe trained."""
        if not SEED.fullmatch(self.folder.name):
            return []
        return sorted(path.parent for path in self.folder.glob('*/evaluation'))

    @cached_property
    def config_text(self) -> str:
        """The config of its last training, or else of its last evaluation; '' without one."""
        trained = [x for x in self.starts if (x / 'vis_data' / 'scalars.json').exists()]
        elsewhere = sorted(self.folder.glob('evaluation/*'))
        for path in reversed([*elsewhere, *self.starts, *trained]):
            if (file := path / 'vis_data' / 'config.py').is_file():
                return file.read_text(errors='replace')
        return ''

    @cached_property
    def config(self) -> dict:
        """The values in :attr:`config_text`; {} where they are not plain literals."""
        return read_literals(self.config_text)

    @cached_property
    def scalars(self) -> tuple[dict[str, Series], dict[str, Series]]:
        """What was logged in training, by iteration, and in validation, by epoch or iteration.

        Where a run was resumed, the later start counts.
        """
        logged = {}, {}
        for start in self.starts:
            file = start / 'vis_data' / 'scalars.json'
            for line in file.read_text(errors='replace').splitlines() if file.is_file() else ():
                try:
                    values = json.loads(line)
                    step = values['step']
                except (KeyError, TypeError, ValueError):
                    continue  # cut off, when the run was killed
                for name, value in values.items():
                    if isinstance(value, (int, float)) and math.isfinite(value):
                        validation = 'loss' not in values and 'iter' not in values
                        logged[validation].setdefault(name, {})[step] = value
        return tuple(
            {name: dict(sorted(series.items())) for name, series in found.items()}
            for found in logged
        )

    @property
    def validated_by(self) -> str:
        """What its validations are counted in."""
        return 'epoch' if 'epoch' in self.scalars[0] else 'iteration'

    @cached_property
    def results(self) -> tuple[dict[str, Result], list[str]]:
        """Its results and its probes' by their files' names, and why others cannot be read."""
        results, amiss = {}, []
        places = [self.folder, *self.probes]
        for file in (file for place in places for file in sorted(place.glob('*.json'))):
            if is_result(file):
                try:
                    results[str(file.relative_to(self.folder))] = Result.load(file)
                except UserError as error:
                    amiss.append(str(error))
        return results, amiss

    def facts(self) -> dict[str, str]:
        """What it was, by what that is called; what is not known is left out."""
        cfg = self.config
        found = {'model': _types(cfg.get('model'), 'backbone')}
        if attack := cfg.get('adversarial'):
            found['attack'] = _call(attack.get('attack'))
            tokenizer = attack.get('tokenizer')
            found['tokenizer'] = (
                tokenizer.get('name_or_path') if isinstance(tokenizer, Mapping) else tokenizer
            )
            keys = {'assembly': '{}', 'share': 'share {}', 'split_bn': 'batch norm {}'}
            found['batches'] = ', '.join(
                form.format(attack[key]) for key, form in keys.items() if key in attack
            )
        elif self.scalars[0]:
            found['attack'] = 'none'
        schedule = cfg.get('train_cfg') or {}
        for key, unit in (('max_epochs', 'epochs'), ('max_iters', 'iterations')):
            if self.scalars[0] and schedule.get(key):
                found['schedule'] = f'{schedule[key]} {unit}'
        loader = cfg.get('train_dataloader') or {}
        if self.scalars[0]:
            found['batch size'] = loader.get('batch_size')
            found['data'] = (loader.get('dataset') or {}).get('data_root')
            found['initial weights'] = Path(cfg.get('load_from') or '').name
            found['seed'] = (cfg.get('randomness') or {}).get('seed')
        if self.starts:
            day = self.starts[-1].name[:8]
            found['date'] = f'{day[:4]}-{day[4:6]}-{day[6:]}'
        found['versions'] = ', '.join(self._versions())
        return {key: str(value) for key, value in found.items() if value not in (None, '')}

    def _versions(self) -> list[str]:
        for start in reversed(self.starts):
            for log in start.glob('*.log'):
                with open(log, errors='replace') as stream:
                    head = stream.read(20_000)
                found = [re.search(rf'^ *{name}: \S+', head, re.MULTILINE) for name in VERSIONS]
                return [match[0].strip().replace(':', '') for match in found if match]
        return []


def find_runs(root: str | Path) -> dict[str, list[Run]]:
    """The runs at a folder and at most four folders below it, by method.

    Methods are in the order of tools/compare.py's table where there is one, or else plain training
    comes first.

    Raises:
        UserError: There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f'the folder {root} does not exist: give the work dir of a run')
    folders = []
    for name, inside, files in os.walk(root):
        folder = Path(name)
        started = any((folder / x / 'vis_data' / 'scalars.json').exists() for x in inside)
        if started or any(is_result(folder / x) for x in files if x.endswith('.json')):
            folders.append(folder)
        deep = len(folder.relative_to(root).parts) >= DEPTH or SEED.fullmatch(folder.name)
        inside[:] = [] if deep else sorted(
            x for x in inside if not START.fullmatch(x) and x != 'analyses'
        )
    if not folders and any(START.fullmatch(path.name) for path in root.iterdir()):
        folders = [root]  # something else was done, such as an analysis
    paths = {folder: _method(folder, root) for folder in folders}
    last = [path.name for path in set(paths.values())]
    runs = [
        Run(folder, path.name if last.count(path.name) == 1 else str(path), _seed(folder))
        for folder, path in paths.items()
    ]
    order = _order_of_tables(root)
    runs.sort(key=lambda run: (
        order.index(run.method) if run.method in order else len(order), run.method != 'plain',
        run.method, run.seed,
    ))
    by_method = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    return by_method


def is_result(file: Path) -> bool:
    """Whether a file begins as results do; annotation files, which can be large, are not read."""
    try:
        with open(file, 'rb') as stream:
            return re.match(rb'\{\s*"schema":', stream.read(32)) is not None
    except OSError:
        return False


def read_literals(text: str) -> dict:
    """The values that a Python file gives to names, of literals and dict(...) alone.

    MMEngine writes whole configs in this form.
    """
    try:
        tree = _DictCalls().visit(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                continue
    return found


class _DictCalls(ast.NodeTransformer):
    """dict(a=1) is written as {'a': 1}."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if getattr(node.func, 'id', None) != 'dict' or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(x) for x in names], [x.value for x in node.keywords])


def _method(folder: Path, root: Path) -> Path:
    """The folder of all seeds, below the root; or the root's name."""
    own = folder.parent if SEED.fullmatch(folder.name) else folder
    inside = own != root and own.is_relative_to(root)
    return own.relative_to(root) if inside else Path(own.resolve().name)


def _seed(folder: Path) -> int:
    match = SEED.fullmatch(folder.name)
    return int(match[1]) if match else 0


def _order_of_tables(root: Path) -> list[str]:
    """Methods as the comparison has them that lies here or one folder below."""
    for file in [root / 'comparison.csv', *sorted(root.glob('*/comparison.csv'))]:
        if file.is_file():
            with open(file, newline='', errors='replace') as stream:
                return list(dict.fromkeys(row[0] for row in csv.reader(stream) if row))[1:]
    return []


def _types(node, *inner: str) -> str:
    """Types of a config's entry and of entries in it."""
    nodes = [node, *(node.get(name) for name in inner)] if isinstance(node, Mapping) else []
    return ', '.join(str(x['type']) for x in nodes if isinstance(x, Mapping) and 'type' in x)


def _call(node) -> str:
    """A config's entry as a call of its type."""
    if not isinstance(node, Mapping):
        return 'DiscreteAttack'  # the hook's default
    arguments = ', '.join(
        f'{key} {value:.3g}' if isinstance(value, float) else f'{key} {value}'
        for key, value in node.items() if key != 'type'
    )
    return f'{node.get("type")}: {arguments}' if arguments else str(node.get('type'))
