"""What a step of adversarial training costs, in plain steps.

Steps of several kinds are timed in turn, round by round, each right behind a plain step: what slows
the machine down for a while meets both, and cancels in their ratio.
"""

import copy
import ctypes
import dataclasses
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from torch import nn

from projects.dat.runtime.cli import read_config
from projects.dat.runtime.config import type_name, walk
from projects.dat.runtime.errors import UserError
from projects.dat.runtime.files import replacing
from projects.dat.runtime.methods import PLAIN
from projects.dat.runtime.preflight.model import check_amp
from projects.dat.runtime.preflight.parts import build_model
from projects.dat.tokenizer import VQGAN, load_tokenizer, write_state_dict
from projects.dat.training import AdversarialTrainingHook, Adversary
from projects.dat.training.prepare import prepare_model
from projects.dat.training.runner import PREPARE

from .recipe import PublishedRecipe
from .tables import Table

logger = logging.getLogger(__name__)

PUBLISHED = 'published recipe'
_OBJECTS = 7  # of an image of COCO's train2017
# A sample is the mean of as many steps in a row as take this long: a short one alone says little.
_SAMPLE_SECONDS = 0.3
_MAX_CALLS = 20

Step = Callable[[dict], object]
Kind = tuple[str, str]  # a method and its tokenizer, '' for none


@dataclass
class Row:
    """The samples of one kind of step, for one size and batch."""

    method: str
    tokenizer: str  # name and precision; '' for none
    size: int  # side of the square images, in pixels
    batch: int  # clean images
    calls: int = 1  # steps in a row that make a sample
    seconds: list[float] = field(default_factory=list)  # mean of a sample's steps, by round
    plain_seconds: list[float] = field(default_factory=list)  # of the plain steps just before
    peak_bytes: int | None = None  # during a step, beyond weights and optimizer; None: not known
    stopped: str | None = None  # why there are no more samples

    @property
    def ratios(self) -> list[float]:
        """Cost in plain steps, of each round."""
        pairs = zip(self.seconds, self.plain_seconds, strict=True)
        return [own / plain for own, plain in pairs]


def save(path: str | Path, rows: list[Row], **facts) -> None:
    """Write the rows, and what they depend on, as JSON."""
    content = dict(facts, rows=[dataclasses.asdict(row) for row in rows])
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + '\n')


def load_costs(path: str | Path) -> dict[str, float]:
    """The methods' costs in plain steps, medians over the rounds, from a file of :func:`save`.

    Raises:
        UserError: It is no such file, or has several rows of a method.
    """
    try:
        rows = [Row(**row) for row in json.loads(Path(path).read_text())['rows']]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'expected {path} to be the benchmark.json of tools/benchmark.py, which it is not '
            f'({type(error).__name__}: {error}): measure with that tool'
        ) from None
    costs = {}
    for row in rows:
        if row.method in costs:
            raise UserError(
                f'expected one row of each method in {path}, found several of {row.method}: '
                'measure with one size, batch, tokenizer and precision'
            )
        if row.ratios:
            costs[row.method] = median(row.ratios)
    return costs


def to_table(title: str, rows: list[Row]) -> Table:
    """A line for each row: medians over the rounds, and the spread of the ratios."""
    lines = []
    for row in rows:
        cells = ['-', row.stopped or '-', '-']
        if ratios := row.ratios:
            spread = f'{min(ratios):.2f}..{max(ratios):.2f}'
            cells = [f'{median(ratios):.2f}', spread, f'{median(row.seconds):.3g}']
        memory = '-' if row.peak_bytes is None else f'{row.peak_bytes / 2**20:.0f}'
        lines.append([row.method, row.tokenizer, str(row.size), str(row.batch), *cells, memory])
    header = ['method', 'tokenizer', 'pixels', 'batch']
    header += ['plain steps', 'min..max', 'seconds', 'peak MiB']
    return Table(title, header, lines)


def make_steps(
    cfg: Config,
    methods: dict[str, str | None],
    tokenizers: dict[str, str],
    precisions: list[str],
    recipe_tokenizer: str,
    device: torch.device,
    seed: int,
) -> dict[Kind, Step]:
    """The kinds of steps that are compared.

    Plain; each method, with each tokenizer in each precision if it has one (and left out if the
    model cannot be trained so); and the published recipe.

    Args:
        cfg: A box detector's or a classifier's; its data is not looked at, and its weights are
            random.
        methods: Fragments by name; what they change besides ``adversarial`` is not looked at.
        tokenizers: What ``load_tokenizer`` takes, by what they are called.
        precisions: Of the tokenizers.
        recipe_tokenizer: What ``load_tokenizer`` takes.
        device: For everything.
        seed: Of weights and attacks.

    Raises:
        UserError: The detector trains masks, or a tokenizer cannot be had.
    """
    check_amp(cfg)
    if any(path.endswith('mask_head') for path, _ in walk(cfg.model, 'model')):
        raise UserError(
            f'{cfg.filename} trains masks, and the batches made here have boxes only: give the '
            'config of a box detector'
        )
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    plain = _build(cfg, device, seed)
    steps, built = {(PLAIN, ''): partial(_step, *plain, None)}, {}
    for method, adversarial in _adversarial_parts(methods).items():
        prepare = {k: v for k, v in adversarial.items() if k in PREPARE}
        key = repr(sorted(prepare.items()))  # what is prepared alike shares a model
        try:
            built[key] = built.get(key) or _build(cfg, device, seed, prepare)
        except UserError as error:
            logger.warning('%s is left out: %s', method, error)
            continue
        model, optimizer = built[key]
        pairs = [(name, precision) for name in tokenizers for precision in precisions]
        for name, precision in pairs if adversarial.get('tokenizer') else [('', '')]:
            if name:
                adversarial.tokenizer = dict(name_or_path=tokenizers[name], precision=precision)
            hook = AdversarialTrainingHook(
                **{k: v for k, v in adversarial.items() if k not in PREPARE}
            )
            attack = hook.build_attack(device)
            attack.seed(seed)
            adversary = Adversary(attack, model, hook.losses)
            steps[method, f'{name} {precision}'.strip()] = partial(
                _step, model, optimizer, adversary
            )
    network = load_tokenizer(recipe_tokenizer).network.to(memory_format=torch.contiguous_format)
    return steps | {(PUBLISHED, ''): PublishedRecipe(*plain, network.to(device), seed).step}


def _adversarial_parts(methods: dict[str, str | None]) -> dict[str, ConfigDict]:
    """The key ``adversarial`` of those whose fragments have it: others train with plain steps."""
    fragments = {name: read_config(path) for name, path in methods.items() if path is not None}
    return {name: cfg.adversarial for name, cfg in fragments.items() if 'adversarial' in cfg}


def _build(
    cfg: Config, device: torch.device, seed: int, prepare: dict | None = None
) -> tuple[nn.Module, OptimWrapper]:
    """A model without downloads, prepared for adversarial training if asked, and its optimizer."""
    cfg = copy.deepcopy(cfg)
    for _, node in walk(cfg.model, 'model'):
        inits = node.get('init_cfg') or []
        inits = inits if isinstance(inits, list) else [inits]
        if any(type_name(init) == 'Pretrained' for init in inits):
            node['init_cfg'] = None
    torch.manual_seed(seed)
    model = build_model(cfg)
    model.init_weights()
    # Batches are whole as they come.
    model.data_preprocessor.pad_size_divisor = 1
    model.data_preprocessor.batch_augments = None
    if prepare is not None:
        prepare_model(model, **prepare)
    model = revert_sync_batchnorm(model).to(device).train()
    wrapper = cfg.optim_wrapper
    wrapper.optimizer.lr = 0.0  # a step does all of its work, and the next finds the same weights
    return model, build_optim_wrapper(model, wrapper)


def _step(model: nn.Module, optimizer: OptimWrapper, adversary: Adversary | None, data: dict):
    """One step as MMEngine's loops take it."""
    if adversary is not None:
        model.data_preprocessor.bind(adversary)
    model.train_step(data, optimizer)


def published_layout(path: str | Path) -> None:
    """Write the published tokenizer with random weights: its cost does not depend on them."""
    network = VQGAN()
    # About as wide as what a fresh encoder puts out: the search meets many tokens.
    nn.init.normal_(network.quantize.embedding.weight, std=0.5)
    write_state_dict(network.state_dict(), path, {})


def make_batch(count: int, size: int, seed: int, classifier: bool = False) -> dict:
    """What a loader gives: images uint8 (3, size, size), smooth shapes with some noise, all of the
    first class or with seven boxes of it each (the class does not matter for the cost).
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 2 + size // 32, 2 + size // 32, generator=generator)
    images = F.interpolate(coarse, size=(size, size), mode='bicubic') * 255
    images += 8 * torch.randn(images.shape, generator=generator)
    corners = torch.rand(count, _OBJECTS, 2, generator=generator) * size * 0.7
    # From small to large, within the image.
    extents = torch.rand(corners.shape, generator=generator) ** 2 * (size - 8 - corners) + 8
    shape = dict(img_shape=(size, size))
    samples = []
    for boxes in torch.cat([corners, corners + extents], dim=2):
        if classifier:
            samples.append(DataSample(metainfo=shape).set_gt_label(0))
            continue
        sample = DetDataSample(metainfo=dict(shape, scale_factor=(1.0, 1.0)))
        labels = torch.zeros(_OBJECTS, dtype=torch.long)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    return dict(inputs=list(images.round().clamp(0, 255).to(torch.uint8)), data_samples=samples)


def measure(
    steps: dict[Kind, Step],
    groups: list[tuple[int, int]],
    rounds: int,
    device: torch.device,
    seed: int,
    classifier: bool = False,
) -> Iterator[list[Row]]:
    """Time all steps in turn; gives the rows after a round to warm up and after each of ``rounds``.

    Args:
        steps: From :func:`make_steps`.
        groups: Pairs of size and batch.
        rounds: How many samples a row gets.
        device: Of the steps.
        seed: Of the images.
        classifier: Whether the steps are a classifier's. Defaults to False.
    """
    cases = [
        (Row(*kind, size, batch), step, data)
        for size, batch in groups
        for data in [make_batch(batch, size, seed, classifier)]
        for kind, step in steps.items()
    ]
    for done in range(rounds + 1):
        for row, step, data in cases:
            if row.stopped:
                continue
            try:
                if done == 0:
                    _warm_up(row, step, data, device)
                    continue
                before = _seconds(steps[PLAIN, ''], data, row.calls, device)
                row.seconds.append(_seconds(step, data, row.calls, device))
                row.plain_seconds.append(before)
            except torch.OutOfMemoryError:
                row.stopped = 'out of memory'
                torch.cuda.empty_cache()
        yield [row for row, _, _ in cases]


def _warm_up(row: Row, step: Step, data: dict, device: torch.device) -> None:
    """Take two steps; find the memory of one, and how many make a sample."""
    step(data)
    held = _reset_peak(device)
    seconds = _seconds(step, data, 1, device)
    if held is not None:
        cuda = device.type == 'cuda'
        row.peak_bytes = (torch.cuda.max_memory_allocated() if cuda else _resident('VmHWM')) - held
    row.calls = min(max(1, round(_SAMPLE_SECONDS / max(seconds, 1e-9))), _MAX_CALLS)


def _seconds(step: Step, data: dict, calls: int, device: torch.device) -> float:
    """Mean time of some steps in a row; the device is waited for around them, never inside."""
    # Other programs hardly change the processor time of one thread; several wait for each other.
    single = device.type == 'cpu' and torch.get_num_threads() == 1
    now = time.process_time if single else time.perf_counter
    wait = torch.cuda.synchronize if device.type == 'cuda' else bool
    wait()
    start = now()
    for _ in range(calls):
        step(data)
    wait()
    return (now() - start) / calls


def _reset_peak(device: torch.device) -> int | None:
    """Bytes held now; None where their peak cannot be known."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        # Memory that was freed but is still held would hide what the step takes.
        ctypes.CDLL(None).malloc_trim(0)
        # Linux alone: https://man7.org/linux/man-pages/man5/proc.5.html
        Path('/proc/self/clear_refs').write_text('5')
    except (AttributeError, OSError):
        return None
    return _resident('VmRSS')


def _resident(name: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{name}:'))


def describe(device: torch.device) -> dict:
    """The machine: device, threads, versions."""
    name = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').is_file():
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
        name = next(names, name)
    return dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else name,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
    )
