import pytest

from projects.dat.evaluation.analyses import matched
from projects.dat.evaluation.analyses.study import Study
from projects.dat.evaluation.results import Result
from projects.dat.runtime.errors import UserError


def test_bisection_finds_a_strength(monkeypatch):
    monkeypatch.setattr(matched, '_BISECTIONS', 12)
    found = matched._bisect(lambda x: x**2, 4.0, 0.01, 100.0)
    assert found['strength'] == pytest.approx(2, rel=0.05)
    assert found['objective'] == pytest.approx(found['strength'] ** 2)
    assert matched._bisect(lambda x: 1.0, 4.0, 0.1, 10.0)['objective'] == 1  # out of reach


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_strengths_raise_the_loss_alike_and_are_kept(subject, toy, monkeypatch):
    attacks, _ = matched.find_attacks(subject, toy, 0.2)
    assert list(attacks) == [
        'reconstruction', 'dat', 'random_tokens', 'dat_flip', 'fgsm', 'pgd', 'pgd 4/255'
    ]
    result = Result.load(f'{subject.cfg.work_dir}/analyses/matched/result.json')
    assert result.value(('dat', 0)) == pytest.approx(
        subject.attack(attacks['dat'], batches=1)['attack/objective_after']
    )
    assert attacks['fgsm'].eps == result.cells['fgsm', 0].metrics['strength']
    monkeypatch.setattr(subject, 'attack', lambda *_: pytest.fail('known already'))
    assert matched.find_attacks(subject, toy, 0.2)[0]['pgd'].eps == attacks['pgd'].eps


@pytest.mark.parametrize('subject', ['classifier'], indirect=True)
def test_figures_of_other_attacks_are_not_taken_for_these(subject, toy):
    measured = {('a', 0): lambda observe: dict(metric=1.0)}
    for rate in (0.2, 0.3):
        _, facts = matched.find_attacks(subject, toy, 0.2)
        study = Study('any', subject, 'metric', facts | dict(rate=str(rate)))
        if rate == 0.2:
            study.run(measured)
    assert facts['rate'] == '0.2' and len(facts['tokenizer_sha256']) == 64
    with pytest.raises(UserError, match='rate'):
        study.run(measured)
