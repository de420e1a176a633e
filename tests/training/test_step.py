"""What a step of adversarial training must not spend: waiting, copies, gradients of weights."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from projects.dat.attacks import (
    DetAdvPropAttack,
    DiscreteAttack,
    PixelAttack,
)
from projects.dat.training import (
    AdversarialTrainingHook,
    Adversary,
    SplitBN,
    TokenizerTraining,
)
from projects.dat.training.prepare import prepare_model
from tests.training.coco_case import coco_config
from tests.training.toy_detector import IdentityTokenizer, batch, make, toy_tokenizer

ATTACKS = {
    'discrete': lambda: DiscreteAttack(toy_tokenizer(), steps=2, eps=0.2),
    'discrete, released code': lambda: DiscreteAttack(toy_tokenizer(), 'released', alpha=0.1),
    'pixel, L2': lambda: PixelAttack('L2', eps=0.3, alpha=0.2, steps=2),
    'pixel, Linf': lambda: PixelAttack('Linf', eps=0.1, alpha=0.1, steps=1),
    'Det-AdvProp': DetAdvPropAttack,
    'Det-AdvProp, by image': lambda: DetAdvPropAttack(selection='image'),
}
EVERY_ATTACK = pytest.mark.parametrize('make_attack', ATTACKS.values(), ids=ATTACKS)


class NoBlockingUpload(TorchFunctionMode):
    """Refuses to move values to the meta device as a GPU would: after all it has still to do."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            assert not out.is_meta, f'{func.__name__} with a device'
        if func in (Tensor.to, Tensor.copy_) and out.is_meta:
            source = args[0] if func is Tensor.to else args[1]
            assert source.is_meta or kwargs.get('non_blocking'), f'blocking {func.__name__}'
        return out


@pytest.fixture
def watch(monkeypatch):
    """Tensors on the meta device stand for a GPU's: they have no values, so that whatever would
    have the host wait for one (``item``, ``nonzero``, boolean indices, copies to the CPU) raises.
    """
    # Autocast knows no meta device.
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())
    return NoBlockingUpload()


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(2)),
    ],
)
def test_the_watch_sees_what_waits(watch, wait):
    with watch, pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        wait(torch.zeros(2, device='meta'))


@EVERY_ATTACK
@pytest.mark.parametrize('bgr_to_rgb', [True, False])
def test_the_host_never_waits_for_the_device(watch, make_attack, bgr_to_rgb):
    model, adversary = make(make_attack(), norm=SplitBN, bgr_to_rgb=bgr_to_rgb)
    model.to('meta').data_preprocessor.to('meta')
    if hasattr(adversary.attack, 'tokenizer'):
        adversary.attack.tokenizer.to('meta')
    if getattr(adversary.attack, 'controller', None):
        adversary.attack.controller.alpha('meta')  # moves its state, once
    data = batch((40, 64), (64, 48))
    data['inputs'] = [image.to('meta') for image in data['inputs']]
    data['data_samples'] = [sample.to('meta') for sample in data['data_samples']]
    hook = AdversarialTrainingHook()
    hook.adversary = adversary
    with watch:
        out = model.data_preprocessor(data, training=True)
        hook.after_train_iter(SimpleNamespace(iter=3, max_iters=10), batch_idx=3)
    assert out['inputs'].is_meta and out['inputs'].shape == (4, 3, 64, 64)
    assert all(total.is_meta for total in hook._sums.values())


@pytest.mark.parametrize('discriminator', [None, dict(channels=8)])
def test_a_tokenizers_training_never_waits_for_the_device(watch, discriminator):
    network = dict(type='FastVQGAN', width=8, num_tokens=16)
    with torch.device('meta'):
        model = TokenizerTraining(network, discriminator=discriminator)
        images = torch.zeros(2, 3, 32, 32)
    model.quantizer._started = True  # The first step waits once, to see what a checkpoint filled.
    with watch:
        loss, _ = model.parse_losses(model(images, mode='loss'))
        loss.backward()


class Copies(TorchDispatchMode):
    """Gathers the copies of a whole batch of images."""

    KINDS = ('cat', 'clone', '_to_copy', 'copy_', 'flip', 'index', 'stack', 'constant_pad_nd')

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in self.KINDS and out.ndim == 4 and out.shape[1:] == (3, 64, 64) and len(out) > 1:
            self.found.append(name)
        return out


@pytest.mark.parametrize('assembly, expected', [('concat', ['cat']), ('replace', [])])
@EVERY_ATTACK
def test_the_concatenation_is_the_only_copy(monkeypatch, make_attack, assembly, expected):
    model, adversary = make(make_attack(), assembly)
    adversary.attack.tokenizer = IdentityTokenizer()
    data = DetDataPreprocessor.forward(model.data_preprocessor, batch((64, 64), (64, 64)), True)
    monkeypatch.setattr(DetDataPreprocessor, 'forward', lambda *args: data)
    with Copies() as copies:
        model.data_preprocessor({}, training=True)
    assert copies.found == expected


# A forward pass costs as much as the backward pass to the images, and as the one to the weights.
@pytest.mark.parametrize(
    'make_attack, passes, tokenizer_passes',
    [
        (lambda: DiscreteAttack(toy_tokenizer(), alpha=0.1), 2, 2),
        (lambda: DiscreteAttack(toy_tokenizer(), alpha=0.1, direction='random'), 0, None),
        (lambda: PixelAttack('Linf', eps=0.1, alpha=0.1, steps=2), 4, 0),
        # With patterns for all losses: the backward pass of one alone leaves out the other's head.
        (lambda: DetAdvPropAttack(classification='loss', box='loss'), 6, 0),
    ],
    ids=['discrete', 'random direction', 'pixel, 2 steps', 'Det-AdvProp'],
)
def test_an_attack_computes_no_gradient_of_a_weight(
    tmp_path, make_attack, passes, tokenizer_passes
):
    init_default_scope('mmdet')
    cfg = coco_config(tmp_path).model
    model = prepare_model(MODELS.build(cfg), split_bn=None).train()
    adversary = Adversary(make_attack(), model)
    model.data_preprocessor.bind(adversary)
    data = batch((64, 64), (64, 64))

    def flops(function, *args, **kwargs):
        with FlopCounterMode(display=False) as counter:
            function(*args, **kwargs)
        return counter.get_total_flops()

    of_tokenizer = flops(toy_tokenizer().reconstruct, torch.rand(2, 3, 64, 64))
    if tokenizer_passes is None:  # two encodings, and one decoding of the result
        encoding = flops(toy_tokenizer().tokenize, torch.rand(2, 3, 64, 64))
        tokenizer_passes = 1 + encoding / of_tokenizer
    plain = DetDataPreprocessor.forward(model.data_preprocessor, batch((64, 64), (64, 64)), True)
    forward = flops(model, **plain, mode='loss')
    found = flops(model.data_preprocessor, data, training=True)
    assert found == passes * forward + tokenizer_passes * of_tokenizer
    assert all(p.grad is None for p in model.parameters())
