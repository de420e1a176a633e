"""What a lower precision changes in tokens and pictures."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .tokenizer import Tokenizer


@torch.no_grad()
def precision_changes(
    tokenizer: Tokenizer, images: Tensor, precision: str | Mapping[str, str]
) -> dict[str, float]:
    """Encode and decode in ``precision`` against fp32, each apart.

    Args:
        tokenizer: Its network and micro-batches are used; its own precision does not matter.
        images: (N, 3, H, W), 0..1, on the tokenizer's device.
        precision: As of :class:`Tokenizer`.

    Returns:
        dict: ``encode_changed_tokens``, the share of the tokens of ``images`` that differ;
            ``decode_mean_change`` and ``decode_max_change``, of the pixels decoded from the fp32
            tokens, in 1/255; ``decode_changed_tokens``, the share of tokens that differ when these
            pictures are encoded again, in fp32 both.
    """
    exact, lower = (
        Tokenizer(tokenizer.network, p, tokenizer.micro_batch) for p in ('fp32', precision)
    )
    tokens, size = exact.tokenize(images), images.shape[-2:]
    picture, changed = exact.detokenize(tokens, size), lower.detokenize(tokens, size)
    difference = (changed - picture).abs() * 255
    return {
        'encode_changed_tokens': _share_changed(lower.tokenize(images), tokens),
        'decode_mean_change': difference.mean().item(),
        'decode_max_change': difference.max().item(),
        'decode_changed_tokens': _share_changed(exact.tokenize(changed), exact.tokenize(picture)),
    }


def _share_changed(tokens: Tensor, reference: Tensor) -> float:
    return (tokens != reference).float().mean().item()
