import pytest
import torch

from projects.dat.tokenizer import PatchDiscriminator, adaptive_weight, hinge_loss


@pytest.mark.parametrize('depth, patch', [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_its_patch_alone(depth, patch):
    """Where a logit's gradient lies, in isolation from group norm, which sees all of an image."""
    discriminator = PatchDiscriminator(channels=8, depth=depth)
    layers = [layer for layer in discriminator if not isinstance(layer, torch.nn.GroupNorm)]
    images = torch.rand(1, 3, 160, 160, requires_grad=True)
    h = images
    for layer in layers:
        h = layer(h)
    h[0, 0, h.shape[2] // 2, h.shape[3] // 2].backward()
    touched = images.grad[0].abs().sum(0).nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [patch, patch]


def test_an_image_is_judged_alone():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(channels=8)
    images = torch.rand(4, 3, 64, 64)
    together = discriminator(images)
    alone = torch.cat([discriminator(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-6)


def test_hinge_loss():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.5])
    # max(0, 1 - real): 0, 0.5, 2; max(0, 1 + fake): 0, 1.5.
    assert hinge_loss(real, fake).item() == pytest.approx((2.5 / 3 + 1.5 / 2) / 2)


@pytest.mark.parametrize(
    'reconstruction, adversarial, weight',
    [([3.0, 4.0], [0.0, 2.0], 2.5), ([1.0, 0.0], [0.0, 0.0], 1e4), ([0.0, 0.0], [1.0, 0.0], 0.0)],
)
def test_adaptive_weight_balances_gradients(reconstruction, adversarial, weight):
    found = adaptive_weight(torch.tensor(reconstruction), torch.tensor(adversarial))
    assert found.item() == pytest.approx(weight, rel=1e-3)
