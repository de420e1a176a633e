"""What registries refuse becomes a sentence; bugs below them do not."""

import pytest
from mmengine.registry import Registry

from projects.dat.runtime.errors import ArgumentError
from projects.dat.runtime.registries import explain

THINGS = Registry('thing', scope='registries_test', locations=['projects.dat.runtime.errors'])


class Base:
    def __init__(self, alpha=1.0, norm='L2'):
        pass


@THINGS.register_module()
class Thing(Base):
    def __init__(self, depth=18, **kwargs):
        super().__init__(**kwargs)


@THINGS.register_module()
class Needy:
    def __init__(self, alpha):
        if alpha < 0:
            raise ArgumentError(f'alpha is {alpha}')


@THINGS.register_module()
class Buggy(Base):
    """Its bugs look like mistakes of a config."""

    def __init__(self, bug, **kwargs):
        if bug == 'value':
            raise ValueError('a bug')
        if bug == 'call':
            Base(beta=1)
        if bug == 'own keyword':
            super().__init__(bug=bug)
        if bug == 'sum':
            return 1 + 'a'
        if bug == 'key':
            return {}['depth']
        if bug == 'assertion':
            raise AssertionError('a bug')


@THINGS.register_module()
def make(size=3):
    return size


@THINGS.register_module()
class Owner:
    def __init__(self, part):
        self.part = THINGS.build(part)


def raised(cfg):
    with pytest.raises(Exception) as caught:
        THINGS.build(cfg)
    return caught.value


@pytest.mark.parametrize('cfg, parts', [
    (dict(type='Thing', dept=1), ["config of Thing has the argument 'dept'",
                                  "did you mean 'depth'?", 'depth, alpha, norm']),
    (dict(type='Thing', nrm='L2'), ["'nrm'", "did you mean 'norm'?"]),  # refused by Base
    (dict(type='Needy'), ["config of Needy lacks alpha"]),
    (dict(type='make', sise=3), ["config of make has the argument 'sise'"]),
    (dict(type='Owner', part=dict(type='Needy', beta=1)), ["config of Needy has", "'beta'"]),
    (dict(type='Thang'), ["'Thang' is not in the registries_test::thing registry",
                          "did you mean 'Thing'?", 'custom_imports']),
    (dict(type='Owner', part=dict(type='Thang')), ["'Thang' is not in"]),
    (dict(type='Owner', part='Thing'), ['cfg should be a dict']),
    (dict(type='Owner', part=dict(alpha=1)), ['must contain the key "type"']),
])
def test_mistakes(cfg, parts):
    sentence = explain(raised(cfg))
    assert '\n' not in sentence
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize('bug', ['value', 'call', 'own keyword', 'sum', 'key', 'assertion'])
@pytest.mark.parametrize('make_cfg', [lambda cfg: cfg, lambda cfg: dict(type='Owner', part=cfg)])
def test_bugs(bug, make_cfg):
    assert explain(raised(make_cfg(dict(type='Buggy', bug=bug)))) is None


def test_errors_elsewhere():
    try:
        {}['a']
    except KeyError as error:
        assert explain(error) is None
