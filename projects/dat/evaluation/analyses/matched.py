"""The attacks that analyses compare, at strengths that raise the model's loss equally."""

import math
from collections.abc import Callable
from functools import cache, partial

from projects.dat.attacks import (
    DiscreteAttack,
    PixelAttack,
    TokenChangeController,
    TokenFlipAttack,
)
from projects.dat.attacks.base import Attack
from projects.dat.tokenizer import Tokenizer, load_tokenizer

from ..results import Metrics
from ..test_sets import weights_sha256
from .study import Study
from .subject import Observe, Subject

RECONSTRUCTION, DAT = 'reconstruction', 'dat'
USUAL = 'pgd 4/255'
"""PGD at a usual radius, beside that at the strength of DAT."""

BATCHES = 1
"""Of the test data, by which strengths are found."""

_BISECTIONS = 7
_STEPS = 5  # of PGD


def find_attacks(
    subject: Subject, source: str, rate: float
) -> tuple[dict[str, Attack], dict[str, str | int]]:
    """The attacks by name: DAT, and others that raise the loss as much as it does.

    Strengths are found by bisection of their logarithm on the first batch, and kept in
    ``WORK_DIR/analyses/matched/``: shares of changed tokens for random tokens and token flips (8
    neighbors), Linf radii for FGSM and PGD (5 steps of half the radius, random start). Q(x) has no
    strength. PGD at 4/255 comes as it is.

    Args:
        subject: Model and images.
        source: A tokenizer, what ``load_tokenizer`` takes.
        rate: Share of tokens that DAT changes.

    Returns:
        The attacks, and what they depend on, for a :class:`Study`.
    """
    tokenizer = load_tokenizer(source).to(subject.device)
    families = _families(tokenizer)
    facts = dict(
        tokenizer_sha256=weights_sha256(tokenizer.network), rate=str(rate), batches=BATCHES
    )
    study = Study('matched', subject, 'objective', facts)
    dat = families[DAT][0](rate)
    goal = cache(lambda: _objective(subject, dat))

    def match(name: str, observe: Observe) -> Metrics:
        if name == DAT:
            return dict(strength=rate, objective=_objective(subject, dat, observe))
        make, low, high = families[name]
        return _bisect(lambda x: _objective(subject, make(x), observe), goal(), low, high)

    cells = {(name, 0): partial(match, name) for name in families}
    found = study.run(cells, passes=_BISECTIONS * BATCHES)
    strengths = {name: x.metrics['strength'] for (name, _), x in found.cells.items()}
    attacks = {
        RECONSTRUCTION: DiscreteAttack(tokenizer, alpha=0.0, direction='random'),
        **{name: make(strengths[name]) for name, (make, *_) in families.items()},
        USUAL: _pgd(4 / 255),
    }
    return attacks, facts


def _families(tokenizer: Tokenizer) -> dict[str, tuple[Callable[[float], Attack], float, float]]:
    """How each attack is made of a given strength, and the strengths to look among."""

    def step(direction: str) -> Callable[[float], Attack]:
        return lambda rate: DiscreteAttack(
            tokenizer, controller=TokenChangeController(rate), direction=direction
        )

    return {
        DAT: (step('gradient'), 1e-3, 0.9),
        'random_tokens': (step('random'), 1e-3, 0.9),
        'dat_flip': (lambda rate: TokenFlipAttack(tokenizer, rate), 1e-3, 0.9),
        'fgsm': (lambda eps: PixelAttack('Linf', eps, eps, 1), 1e-5, 0.1),
        'pgd': (_pgd, 1e-5, 0.1),
    }


def _pgd(eps: float) -> PixelAttack:
    return PixelAttack('Linf', eps, eps / 2, _STEPS, random_start=1.0)


def _objective(
    subject: Subject, attack: Attack, observe: Observe = lambda batch: None
) -> float:
    return subject.attack(attack, observe, BATCHES)['attack/objective_after']


def _bisect(
    objective: Callable[[float], float], goal: float, low: float, high: float
) -> Metrics:
    """The strength that brings the objective closest to a goal, and what it is there."""
    tried = []
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        value = objective(middle)
        tried.append(dict(strength=middle, objective=value))
        low, high = (middle, high) if value < goal else (low, middle)
    return min(tried, key=lambda x: abs(x['objective'] - goal))
