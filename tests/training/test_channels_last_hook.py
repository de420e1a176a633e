from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import HOOKS

from projects.dat.attacks import PixelAttack
from projects.dat.training import SplitBN
from tests.training.toy_detector import batch, make


@pytest.mark.parametrize('assembly', ['concat', 'replace'])
def test_a_step_in_channels_last_is_the_same_step(assembly):
    results = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        attack = PixelAttack('L2', eps=1.0, alpha=0.5, steps=2)
        model, _ = make(attack, assembly, norm=SplitBN)
        model.drop.p = 0.0  # draws in the order of memory
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if layout is torch.channels_last:
            hook = HOOKS.build(dict(type='ChannelsLastHook'))
            hook.before_train(SimpleNamespace(model=model))
        maps = []
        model.norm.register_forward_hook(lambda module, args, out, maps=maps: maps.append(out))
        inputs = model.data_preprocessor(batch((64, 64), (48, 64)), training=True)
        torch.manual_seed(0)
        losses = model(**inputs, mode='loss')
        (sum(losses['loss_cls']) + losses['loss_bbox']).backward()
        optimizer.step()
        # Those in the attack and the one in training.
        assert len(maps) == 3 and all(m.is_contiguous(memory_format=layout) for m in maps)
        results[layout] = [inputs['inputs'], losses['loss_bbox'], *model.state_dict().values()]
    for ours, plain in zip(results[torch.channels_last], results[torch.contiguous_format],
                           strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
