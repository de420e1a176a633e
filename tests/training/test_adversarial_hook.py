import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from torch import nn

from projects.dat.runtime.errors import UserError
from projects.dat.training import AdversarialDetDataPreprocessor, AdversarialTrainingHook, SplitBN

PIXEL = dict(type='PixelAttack', norm='Linf', eps=0.1, alpha=0.1, steps=1)


def make(norm=None, assembly='concat', **options):
    """A hook, and a runner as far as the hook looks at it."""
    model = nn.Module()
    model.data_preprocessor = AdversarialDetDataPreprocessor(assembly=assembly)
    model.conv = nn.Conv2d(3, 4, 1)
    model.norm = norm or SplitBN(4)
    runner = SimpleNamespace(
        model=model,
        logger=logging.getLogger('test'),
        message_hub=MessageHub('test'),
        seed=1,
        iter=0,
        _resume=False,
    )
    options = {'attack': PIXEL, 'tokenizer': None, **options}
    return HOOKS.build(dict(type='AdversarialTrainingHook', **options)), runner


def test_it_binds_routes_and_lets_go():
    hook, runner = make()
    hook.before_train(runner)
    assert runner.model.data_preprocessor.adversary is hook.adversary
    assert runner.model.norm.route == 'split'
    hook.after_train(runner)
    assert runner.model.data_preprocessor.adversary is None
    assert runner.model.norm.route == 'main'


def test_the_default_is_the_papers_attack_with_the_bundled_tokenizer():
    hook = AdversarialTrainingHook()
    attack = hook.build_attack(torch.device('cpu'))
    assert attack.variant == 'paper' and attack.controller is None
    assert attack.tokenizer.downscale == 8


def test_logged_means_are_over_attacked_batches(caplog):
    """Three batches of which one was skipped, with a loss that is not finite."""
    hook, runner = make(interval=3)
    hook.before_train(runner)
    hook.every_n_train_iters = lambda runner, n: runner.iter == 2
    hook.is_last_train_iter = lambda runner: False
    rows = [(1.0, 0.1, 0.0), (float('nan'), 0.7, 1.0), (3.0, 0.3, 0.0)]
    for runner.iter, (loss, change, skipped) in enumerate(rows):
        hook.adversary.stats = {
            'attack/objective_before': torch.tensor(loss),
            'attack/token_change': torch.tensor(change),
            'attack/skipped': torch.tensor(skipped),
        }
        with caplog.at_level(logging.WARNING):
            hook.after_train_iter(runner, runner.iter)
    logged = {k: v.current() for k, v in runner.message_hub.log_scalars.items()}
    assert logged['train/attack/objective_before'] == pytest.approx(2.0)
    assert logged['train/attack/token_change'] == pytest.approx(0.2)
    assert logged['train/attack/skipped'] == 1
    assert len(caplog.records) == 1 and '1 of the last 3 batches' in caplog.text


def test_random_numbers_depend_on_the_iteration_alone():
    hook, runner = make()
    hook.before_train(runner)
    seeds = []
    for runner.iter in (0, 1, 0):
        hook.before_train_iter(runner, 0)
        seeds.append(hook.adversary.attack.generator.initial_seed())
    assert seeds[0] == seeds[2] != seeds[1]


def test_plain_batch_norms_are_pointed_out(caplog):
    hook, runner = make(norm=nn.BatchNorm2d(4))
    with caplog.at_level(logging.WARNING):
        hook.before_train(runner)
    assert '1 batch norms such as norm' in caplog.text


@pytest.mark.parametrize('split', ['clean', 'aux'])
def test_batch_norms_that_tell_halves_apart_need_them(split):
    hook, runner = make(norm=SplitBN(4, split=split), assembly='replace')
    with pytest.raises(UserError, match="assembly='replace' has no halves"):
        hook.before_train(runner)


def test_auxiliary_batch_norms_must_train():
    class NormEval(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            return self.eval() if mode else self

    hook, runner = make(norm=NormEval(SplitBN(4, split='aux')))
    with pytest.raises(UserError, match='norm_eval=False'):
        hook.before_train(runner)


def test_another_preprocessor_is_refused():
    hook, runner = make()
    runner.model.data_preprocessor = nn.Identity()
    with pytest.raises(UserError, match='found Identity'):
        hook.before_train(runner)


def test_a_bad_pattern_is_refused_when_built():
    with pytest.raises(ValueError, match='expected loss_pattern'):
        AdversarialTrainingHook(loss_pattern='(')


def test_a_checkpoint_of_other_settings_is_refused():
    hook, runner = make(tokenizer='fast_f8_8192', attack=dict(type='DiscreteAttack'))
    runner._resume = True
    other, _ = make(
        tokenizer='fast_f8_8192',
        attack=dict(type='DiscreteAttack', controller=dict(type='TokenChangeController')),
    )
    saved = other.build_attack(torch.device('cpu')).state_dict()
    hook.after_load_checkpoint(runner, dict(adversarial_training=dict(attack=saved, skipped=0)))
    with pytest.raises(UserError, match='controller'):
        hook.before_train(runner)
