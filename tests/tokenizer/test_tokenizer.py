import pytest
import torch
from skimage import data

from projects.dat.tokenizer import DEFAULT_TOKENIZER, FastVQGAN, Tokenizer, load_tokenizer
from projects.dat.tokenizer.tokenizer import pad_to_multiple


@pytest.fixture(scope='module')
def tokenizer():
    return load_tokenizer()


def photograph(name):
    image = torch.from_numpy(getattr(data, name)()[:256, :256].copy())
    return image.permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize('size', [(8, 8), (64, 48), (65, 47), (1, 1), (3, 20), (9, 200)])
def test_any_size(tokenizer, size):
    images = torch.rand(2, 3, *size)
    tokens = tokenizer.tokenize(images)
    assert tokens.shape == (2, -(-size[0] // 8), -(-size[1] // 8))
    assert tokens.dtype == torch.long
    reconstruction = tokenizer.reconstruct(images)
    assert reconstruction.shape == images.shape
    assert reconstruction.dtype == torch.float32
    assert reconstruction.min() >= 0 and reconstruction.max() <= 1


def test_sizes_that_fit_are_not_padded():
    images = torch.rand(1, 3, 16, 24)
    assert pad_to_multiple(images, 8) is images


def test_padding_is_a_reflection():
    padded = pad_to_multiple(torch.arange(18.0).view(1, 1, 3, 6), 4)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[0, 0, 3, :6].tolist() == list(range(6, 12))
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


@pytest.mark.parametrize('name', ['astronaut', 'chelsea', 'coffee'])
def test_bundled_reconstructions_are_recognizable(name):
    """20 dB is where objects and faces are plain to see, if soft."""
    image = photograph(name)
    mse = (load_tokenizer(DEFAULT_TOKENIZER).reconstruct(image) - image).square().mean()
    assert -10 * mse.log10() > 20


def test_reconstruct_is_detokenize_after_tokenize(tokenizer):
    images = torch.rand(2, 3, 40, 56)
    expected = tokenizer.detokenize(tokenizer.tokenize(images), size=(40, 56))
    assert torch.equal(tokenizer.reconstruct(images), expected)


def test_micro_batches_change_nothing(tokenizer):
    images = photograph('astronaut').repeat(5, 1, 1, 1)[..., :64, :64] * torch.rand(5, 1, 1, 1)
    parts = Tokenizer(tokenizer.network, micro_batch=2)
    assert torch.equal(parts.tokenize(images), tokenizer.tokenize(images))
    torch.testing.assert_close(parts.reconstruct(images), tokenizer.reconstruct(images))


def test_bf16_keeps_most_words_and_nearly_all_of_the_picture(tokenizer):
    image = photograph('astronaut')
    half = Tokenizer(tokenizer.network, precision='bf16')
    tokens, exact = half.tokenize(image), tokenizer.tokenize(image)
    assert half.detokenize(tokens).dtype == torch.float32
    assert (tokens != exact).float().mean() < 0.2
    difference = (half.detokenize(exact) - tokenizer.detokenize(exact)).abs()
    assert difference.mean() < 1 / 255


def test_the_callers_autocast_does_not_reach_the_tokenizer(tokenizer):
    images = torch.rand(1, 3, 32, 32)
    expected = tokenizer.reconstruct(images)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(tokenizer.reconstruct(images), expected)


def test_is_frozen_and_stays_in_eval_mode():
    tokenizer = Tokenizer(FastVQGAN(width=8, num_codes=8))
    tokenizer.train()
    assert not tokenizer.training and not tokenizer.network.training
    assert not any(p.requires_grad for p in tokenizer.parameters())
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert not tokenizer.reconstruct(images).requires_grad


@pytest.mark.parametrize(
    'options, message',
    [({'precision': 'fp8'}, 'expected precision to be one of'), ({'micro_batch': 0}, 'positive')],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer(FastVQGAN(width=8, num_codes=8), **options)
