import copy
import logging
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from torch import nn

from projects.dat.runtime.errors import UserError
from projects.dat.training import AdversarialDetDataPreprocessor, AdversarialTrainingHook, SplitBN
from tests.training.toy_detector import OPTIONS, Detector, batch

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
        max_iters=1000,
        _resume=False,
        cfg=dict(adversarial=dict(split_bn='shared')),
    )
    options = {'attack': PIXEL, 'tokenizer': None, **options}
    return HOOKS.build(dict(type='AdversarialTrainingHook', **options)), runner


def test_it_binds_routes_and_lets_go():
    hook, runner = make()
    hook.before_train(runner)
    assert runner.model.data_preprocessor.adversary is hook.adversary
    hook.adversary.route(2, 2)
    assert runner.model.norm.route == 'split'
    hook.after_train(runner)
    assert runner.model.data_preprocessor.adversary is None
    assert runner.model.norm.route == 'main'


def test_the_default_is_the_papers_attack_with_the_bundled_tokenizer():
    hook = AdversarialTrainingHook()
    attack = hook.build_attack(torch.device('cpu'))
    assert attack.variant == 'paper' and attack.controller.target == 0.038
    assert attack.tokenizer.downscale == 8


def test_logged_means_are_over_attacked_batches(caplog):
    """Three batches of which one was skipped, with a loss that is not finite."""
    hook, runner = make(log_interval=3)
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


def test_the_loss_after_the_attack_is_measured_where_a_log_is_due():
    """On three batches of one model that does not train: a log after each second one."""
    hook, runner = make(log_interval=2)
    preprocessor = AdversarialDetDataPreprocessor(**OPTIONS)
    runner.model = model = Detector(preprocessor)
    model.drop = nn.Identity()
    hook.before_train(runner)
    measured = []
    for runner.iter in range(3):
        hook.before_train_iter(runner, runner.iter)
        hook.adversary.keep_result = True
        preprocessor(batch((32, 32), (32, 32)), training=True)
        _, _, samples, result = hook.adversary.kept
        measured.append('attack/objective_after' in hook.adversary.stats)
        hook.adversary.kept = None
        hook.after_train_iter(runner, runner.iter)
        if measured[-1]:
            inputs = preprocessor._normalize(result.images, result.images, result.images > -1)
            with torch.no_grad():
                losses = model(inputs, samples, mode='loss')
            expected = sum(map(torch.mean, [*losses['loss_cls'], losses['loss_bbox']])).item()
            logged = {k: v.data[0][-1] for k, v in runner.message_hub.log_scalars.items()}
            assert logged['train/attack/objective_after'] == pytest.approx(expected, rel=1e-4)
            rise = expected - result.stats['attack/objective_before'].item()
            assert logged['train/attack/rise'] == pytest.approx(rise, abs=1e-3 * expected)
    assert measured == [False, True, False]


def test_random_numbers_depend_on_the_iteration_alone():
    hook, runner = make()
    hook.before_train(runner)
    seeds = []
    for runner.iter in (1, 2, 1):
        hook.before_train_iter(runner, 0)
        seeds.append(hook.adversary.attack.generator.initial_seed())
    assert seeds[0] == seeds[2] != seeds[1]


def test_another_preprocessor_is_refused():
    hook, runner = make()
    runner.model.data_preprocessor = nn.Identity()
    with pytest.raises(UserError, match='found Identity'):
        hook.before_train(runner)


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(losses='('), 'adversarial.losses to be a regular expression'),
        (dict(log_interval=0), 'adversarial.log_interval'),
        (dict(picture_interval=2.5), 'adversarial.picture_interval'),
        (dict(attack=dict(type='Discrete')), "got 'Discrete'"),
        (dict(attack=dict(PIXEL, epsilon=1)), "'epsilon', which PixelAttack does not take"),
        (dict(attack=dict(PIXEL, eps=-1)), 'eps must be 0 or more'),
        (dict(attack=dict(PIXEL, eps='8/255')), "eps must be a number, such as 0.031, not '8/255'"),
        (dict(attack='PixelAttack'), "got 'PixelAttack'"),
        (dict(losses=None), 'adversarial.losses'),
        (dict(attack=dict(type='PixelAttack', norm='L2')), 'lacks eps, alpha, steps'),
        (dict(attack=dict(type='DiscreteAttack')), 'needs a tokenizer'),
        (dict(tokenizer=dict(name='x')), "adversarial.tokenizer has the argument 'name'"),
        (
            dict(attack=dict(type='DiscreteAttack', controller=dict(traget=0.1)),
                 tokenizer='fast_f8_8192'),
            "did you mean 'target'",
        ),
    ],
)
def test_unfit_arguments_are_named_when_built(options, named):
    with pytest.raises(UserError, match=re.escape(named)):
        make(**options)


DISCRETE = dict(tokenizer='fast_f8_8192', attack=dict(type='DiscreteAttack'))
FIXED = dict(tokenizer='fast_f8_8192', attack=dict(type='DiscreteAttack', alpha=0.1))


def checkpoint_of(split, **options):
    """What a run with these options saves."""
    hook, runner = make(**options)
    runner.cfg['adversarial']['split_bn'] = split
    hook.before_train(runner)
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    'saved, named',
    [
        (lambda: {}, 'plain training'),
        (lambda: checkpoint_of('shared'), 'PixelAttack'),
        (lambda: checkpoint_of('shared', **FIXED), 'DiscreteAttack, split_bn=shared'),
        (lambda: checkpoint_of('aux', **DISCRETE), 'split_bn=aux'),
    ],
)
def test_resuming_with_another_method_is_refused(saved, named):
    hook, runner = make(**DISCRETE)
    runner._resume = True
    with pytest.raises(UserError, match=f'comes from .*{named}'):
        hook.after_load_checkpoint(runner, saved())


def test_resuming_goes_on_with_the_step_size():
    checkpoint = checkpoint_of('shared', **DISCRETE)
    log_alpha = torch.tensor(-1.25)
    checkpoint['adversarial_training']['attack']['controller']['log_alpha'] = log_alpha
    hook, runner = make(**DISCRETE)
    runner._resume = True
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    assert torch.equal(hook.adversary.attack.controller.log_alpha, log_alpha)


class Summing(Detector):
    """One loss sums over images, one averages."""

    def __init__(self, preprocessor):
        super().__init__(preprocessor)
        self.loss_obj = nn.MSELoss(reduction='sum')

    def forward(self, inputs, data_samples, mode):
        x = self.norm(self.conv(inputs))
        return dict(loss_obj=[self.loss_obj(x, 0 * x)], loss_bbox=x.square().mean() + 0.1)


@pytest.mark.parametrize('assembly, warns', [('concat', True), ('replace', False)])
def test_losses_that_sum_over_images_are_pointed_out(caplog, assembly, warns):
    hook, runner = make(assembly=assembly)
    preprocessor = runner.model.data_preprocessor
    runner.model = Summing(AdversarialDetDataPreprocessor(assembly=assembly, **OPTIONS))
    assert preprocessor.assembly == assembly
    hook.before_train(runner)
    data = batch((64, 64), (48, 64))
    state = copy.deepcopy(runner.model.state_dict())
    with caplog.at_level(logging.WARNING):
        hook.before_train_iter(runner, 0, data)
    assert ('loss_obj of Summing are sums over images' in caplog.text) == warns
    assert ('effective learning rate is 2 times' in caplog.text) == warns
    assert 'loss_bbox' not in caplog.text
    assert all(torch.equal(v, state[k]) for k, v in runner.model.state_dict().items())
    assert data['inputs'][0].dtype == torch.uint8
