import pytest
import torch
from torch import nn

from projects.dat.attacks import image_gradient


@pytest.mark.parametrize('loss_scale', [1.0, 2.0**-6, 1024.0])
def test_gradient_matches_the_closed_form(images, objective, loss_scale):
    loss, gradient = image_gradient(images, objective, loss_scale)
    assert loss.item() == pytest.approx(objective(images.double()).item(), rel=1e-5)
    expected = torch.from_numpy(objective.gradient(images))
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)
    assert objective.calls == 2
    assert not loss.requires_grad and not gradient.requires_grad and not images.requires_grad


def test_loss_scale_saves_what_float16_would_lose(images):
    def objective(x):
        return x.half().sum(dtype=torch.float32) * 1e-9

    assert not image_gradient(images, objective)[1].any()
    gradient = image_gradient(images, objective, 2.0**20)[1]
    torch.testing.assert_close(gradient, torch.full_like(images, 1e-9), rtol=1e-2, atol=0)


def test_parameters_get_no_gradient_and_grad_mode_is_no_matter(images):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LazyLinear(1))
    model(images)
    with torch.no_grad():
        _, gradient = image_gradient(images, lambda x: model(x).sum())
    assert gradient.any()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    'objective, found',
    [
        (lambda x: x.mean(dim=(1, 2, 3)), r'shape \(3,\)'),
        (lambda x: x.detach().mean(), 'requires_grad=False'),
    ],
    ids=['one loss per image', 'detached'],
)
def test_unusable_loss_is_named(images, objective, found):
    with pytest.raises(ValueError, match=found):
        image_gradient(images, objective)
