"""Arguments of a config are compared with those that the class has."""

import pytest

from projects.dat.runtime.arguments import check_arguments
from projects.dat.runtime.errors import ArgumentError


class Base:
    def __init__(self, eps, norm='L2'):
        pass


class Derived(Base):
    def __init__(self, alpha=0.1, **kwargs):
        super().__init__(**kwargs)


class Silent(Derived):
    pass


class Open:
    def __init__(self, depth, **kwargs):
        pass


def function(count, *, size=3):
    pass


@pytest.mark.parametrize('target, arguments', [
    (Base, dict(eps=1)),
    (Derived, dict(eps=1, norm='Linf', alpha=0.2)),
    (Silent, dict(eps=1, alpha=0.2)),
    (Open, dict(depth=1, anything=2)),
    (function, dict(count=1, size=2)),
    (object, dict()),
])
def test_arguments_that_fit(target, arguments):
    check_arguments(target, arguments, 'adversarial.attack')
    target(**arguments)


@pytest.mark.parametrize('target, arguments, parts', [
    (Base, dict(eps=1, nrm='L2'),
     ["adversarial.attack has the argument 'nrm'", 'Base', "did you mean 'norm'?", 'eps, norm']),
    (Derived, dict(eps=1, bogus=2), ["'bogus'", 'it takes alpha, eps, norm']),
    (Silent, dict(eps=1, alhpa=0.1), ["'alhpa'", 'Silent', "did you mean 'alpha'?"]),
    (Base, dict(norm='L2'), ["lacks eps, which", 'Base']),
    (Open, dict(anything=2), ["lacks depth, which", 'Open']),
    (function, dict(count=1, sise=2), ["'sise'", 'function', "did you mean 'size'?"]),
    (object, dict(a=1), ["'a'", 'it takes none']),
])
def test_arguments_that_do_not(target, arguments, parts):
    with pytest.raises(ArgumentError) as caught:
        check_arguments(target, arguments, 'adversarial.attack')
    for part in parts:
        assert part in str(caught.value)


def test_names_that_stand_beside_them():
    check_arguments(Base, dict(eps=1, share=0.5), 'adversarial', also=['share'])
    with pytest.raises(ArgumentError, match="did you mean 'share'.*it takes share, eps, norm"):
        check_arguments(Base, dict(eps=1, shore=0.5), 'adversarial', also=['share'])
