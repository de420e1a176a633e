import numpy as np
import pytest
import torch

from projects.dat.attacks import L2, PERTURBATIONS, Linf, Raw


def gradient():
    return torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 1e-3


def lengths(delta):
    return [float(np.linalg.norm(d.double().numpy().ravel())) for d in delta]


@pytest.mark.parametrize(
    'name, expected',
    [
        ('L2', lambda g: 0.3 * g / np.linalg.norm(g)),
        ('Linf', lambda g: 0.3 * np.sign(g)),
        ('raw', lambda g: 0.3 * g),
    ],
)
def test_step_is_the_formula_for_each_image(name, expected):
    step = PERTURBATIONS[name].step(gradient(), 0.3)
    for image_step, image_gradient in zip(step, gradient().double().numpy(), strict=True):
        np.testing.assert_allclose(image_step.numpy(), expected(image_gradient), rtol=1e-5)


@pytest.mark.parametrize('name', PERTURBATIONS)
def test_zero_gradient_gives_zero_step(name):
    assert not PERTURBATIONS[name].step(torch.zeros(2, 3, 4, 4), 0.5).any()


@pytest.mark.parametrize('eps', [0.05, torch.tensor(0.05)], ids=['float', 'tensor'])
@pytest.mark.parametrize('kind', [L2(), Raw()])
def test_l2_projection_shortens_what_is_outside_and_keeps_the_rest(kind, eps):
    delta = gradient() * torch.tensor([0.1, 1, 10, 100]).view(-1, 1, 1, 1)
    projected = kind.project(delta, eps)
    for before, after, length in zip(delta, projected, lengths(delta), strict=True):
        factor = min(1.0, 0.05 / length)
        torch.testing.assert_close(after, before * factor, rtol=1e-5, atol=0)
    assert torch.equal(projected[0], delta[0])


@pytest.mark.parametrize('eps', [0.05, torch.tensor(0.05)], ids=['float', 'tensor'])
def test_linf_projection_clips(eps):
    delta = gradient() * 100
    expected = np.clip(delta.numpy(), -np.float32(0.05), np.float32(0.05))
    np.testing.assert_array_equal(Linf().project(delta, eps).numpy(), expected)


@pytest.mark.parametrize('name', PERTURBATIONS)
def test_random_start_fills_the_set_inside_the_mask(name):
    like = torch.zeros(3, 3, 16, 16)
    mask = torch.ones(3, 1, 16, 16, dtype=torch.bool)
    mask[1, :, 8:] = False
    mask[2] = False
    delta = PERTURBATIONS[name].random_perturb(like, mask, 0.1, torch.Generator().manual_seed(3))
    assert not delta.masked_select(~mask).any()
    inside = delta[:1], delta[1:2, :, :8]
    if name == 'Linf':
        for part in inside:
            assert part.abs().max() <= 0.1 and part.min() < -0.09 and part.max() > 0.09
    else:
        assert lengths(delta) == pytest.approx([0.1, 0.1, 0.0], rel=1e-6)


@pytest.mark.parametrize('name', PERTURBATIONS)
def test_random_start_repeats_with_its_generator(name):
    def draw(seed):
        like, mask = torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
        generator = torch.Generator().manual_seed(seed)
        return PERTURBATIONS[name].random_perturb(like, mask, 0.1, generator)

    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))
