"""What is timed for one image size and one batch."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from projects.dat.tokenizer import Tokenizer, nearest_codes
from projects.dat.training import Adversary

from .data import make_batch
from .detector import Detector
from .machine import memory_bytes
from .recipe import PublishedRecipe, matrix_bytes, reconstruct
from .results import BASE, PLAIN, RECIPE, STEP, Measurement
from .timing import Case


def make_cases(
    detector: Detector,
    tokenizers: dict[str, Tokenizer],
    recipe_network: nn.Module,
    images: Tensor,
    seed: int,
) -> Iterator[Case]:
    """The cases of one batch, in the order of a round.

    - the plain step;
    - for each tokenizer its parts, the attack (with the data preprocessor around it), a plain step
      again, the base of this row's ratios, and the step;
    - for the published recipe its reconstruction and its step; they are skipped where its
      matrices alone exceed the memory of the machine.

    Args:
        detector: Both models.
        tokenizers: By row of the table, on the detector's device.
        recipe_network: Of the published recipe, on the detector's device.
        images: uint8 (N, 3, S, S), BGR, on the CPU.
        seed: Of boxes and attacks.
    """
    batch, size = len(images), images.shape[-1]
    data = make_batch(images, seed)

    def case(row, quantity, call, skipped=None):
        return Case(Measurement(size, batch, row, quantity, skipped=skipped), call)

    def plain_step():
        detector.plain.step(data)

    yield case(PLAIN, STEP, plain_step)
    for row, tokenizer in tokenizers.items():
        for quantity, call in _tokenizer_parts(tokenizer, images.to(detector.device)):
            yield case(row, quantity, call)
        attack, step = _training(detector, tokenizer, data, seed)
        yield case(row, 'attack', attack)
        yield case(row, BASE, plain_step)
        yield case(row, STEP, step)
    needed = matrix_bytes(recipe_network, size, batch)
    there = memory_bytes(detector.device)
    skipped = None
    if needed > there:
        skipped = (
            f'its distance or attention matrices alone need {needed / 2**30:.0f} GiB and this '
            f'machine has {there / 2**30:.0f}'
        )
    trainee = detector.plain
    recipe = PublishedRecipe(
        trainee.model, trainee.optimizer, recipe_network, detector.rgb, seed=seed
    )
    pixels = images.to(detector.device).flip(1).float() / 255
    yield case(RECIPE, 'reconstruct', lambda: reconstruct(recipe_network, pixels), skipped)
    yield case(RECIPE, BASE, plain_step, skipped)
    yield case(RECIPE, STEP, lambda: recipe.step(data), skipped)


def _tokenizer_parts(tokenizer: Tokenizer, images: Tensor) -> Iterator[tuple]:
    """``tokenize`` contains the search; the others are apart."""
    batch, _, height, width = images.shape
    images = images.flip(1).float() / 255
    codebook = tokenizer.codebook
    grid = (batch, height // tokenizer.downscale, width // tokenizer.downscale)
    tokens = torch.randint(len(codebook), grid, device=images.device)
    # Around tokens, as encoder outputs are.
    entries = codebook[tokens.flatten()]
    vectors = entries + 0.2 * codebook.std() * torch.randn_like(entries)
    yield 'tokenize', lambda: tokenizer.tokenize(images)
    yield 'search', lambda: nearest_codes(vectors, codebook)
    yield 'product', lambda: (vectors.bfloat16() @ codebook.bfloat16().T).amin(dim=1)
    yield 'detokenize', lambda: tokenizer.detokenize(tokens)
    yield 'reconstruct', lambda: tokenizer.reconstruct(images)


def _training(detector: Detector, tokenizer: Tokenizer, data: dict, seed: int) -> tuple:
    """The attack and the step."""
    trainee = detector.adversarial
    attack, losses = detector.attack(tokenizer)
    attack.seed(seed)
    adversary = Adversary(attack, trainee.model, losses)
    preprocessor = trainee.model.data_preprocessor

    def run_attack():
        preprocessor.bind(adversary)
        # As in a training step: in the detector's mixed precision, if it has one.
        with trainee.optimizer.optim_context(trainee.model):
            preprocessor(data, training=True)

    def step():
        preprocessor.bind(adversary)
        trainee.step(data)

    return run_attack, step
