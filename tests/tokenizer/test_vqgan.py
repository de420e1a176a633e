import pytest
import torch

from projects.dat.tokenizer import VQGAN, FastVQGAN, Tokenizer, build_network


def test_reference_outputs(reference):
    state_dict, expected = reference
    tokenizer = Tokenizer(build_network(state_dict, 'fixture'))
    with torch.no_grad():
        prequant = tokenizer.network.encode(expected['image'])
    torch.testing.assert_close(prequant, expected['prequant'], atol=1e-4, rtol=0)
    tokens = tokenizer.tokenize(expected['image'])
    assert torch.equal(tokens, expected['indices'])
    reconstruction = tokenizer.detokenize(tokens)
    torch.testing.assert_close(reconstruction, expected['reconstruction'], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    'name, attention',
    [
        ('openimages_f8_16384', (False, False, False, True)),
        ('openimages_f8_256', (False, False, False, True)),
        ('imagenet_f16_1024', (False, False, False, False, True)),
        ('imagenet_f16_16384', (False, False, False, False, True)),
    ],
)
def test_published_layouts_are_inferred(published_layouts, name, attention):
    """Every key and shape of the published file, and no other."""
    shapes = published_layouts[name]
    # On the meta device: 67.7 M parameters cost nothing there.
    with torch.device('meta'):
        state_dict = {key: torch.empty(shape) for key, shape in shapes.items()}
        network = build_network(state_dict, name)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
    assert tuple(bool(level.attn) for level in network.encoder.down) == attention
    assert network.downscale == (8 if '_f8_' in name else 16)


@pytest.mark.parametrize(
    'width, encoder_depth, decoder_depth', [(16, (1, 1), (2, 1)), (8, (2, 3), (1, 4))]
)
def test_fast_layout_round_trip(width, encoder_depth, decoder_depth):
    network = FastVQGAN(
        width=width,
        encoder_depth=encoder_depth,
        decoder_depth=decoder_depth,
        num_tokens=32,
        embed_dim=5,
    )
    rebuilt = build_network(network.state_dict(), 'memory')
    images = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        expected, found = network.encode(images), rebuilt.encode(images)
    assert torch.equal(found, expected)
    assert found.shape == (2, 5, 3, 4)
    assert rebuilt.decode(found).shape == images.shape


def test_zero_attention_means_no_attention_keys():
    network = VQGAN(
        ch=32,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attention=(False, False),
        z_channels=4,
        num_tokens=8,
        embed_dim=4,
    )
    assert not any('down.' in key and 'attn' in key for key in network.state_dict())
    assert network.decode(network.encode(torch.rand(1, 3, 6, 4))).shape == (1, 3, 6, 4)
