"""What an operator of the translation models returns for a sentence does not depend on what its batch pads."""

from __future__ import annotations

import pytest
import torch

from plugins.operators.deform_conv import DeformConv1d
from plugins.operators.dynamic_conv import DynamicConvBlock1d
from plugins.operators.generalized_attention_1d import GeneralizedAttention1d, generalized_attention_1d_reference
from plugins.operators.muse import MuseAttention
from tests.unit.operators.comparisons import randomise, relative_error

PATTERNS = [f"{i:04b}" for i in range(16)]
SIDES = ("left", "right")
LONG, SHORT, WIDTH = 9, 5, 8
HYBRIDS = {
    "deformable": lambda: DeformConv1d(WIDTH, WIDTH),
    "dynamic": lambda: DynamicConvBlock1d(WIDTH, 3, 2),
    **{
        f"muse {kind} {projection}": lambda kind=kind, projection=projection: MuseAttention(
            WIDTH, 2, (3, 5), kind=kind, projection=projection
        )
        for kind in ("dynamic", "depthwise", "standard")
        for projection in ("shared", "separate", "attention")
    },
}


def padded(sentence: torch.Tensor, side: str) -> tuple[torch.Tensor, torch.Tensor, slice]:
    """(batch of the sentence, whose padding holds noise, and a longer one; its mask; where the sentence stands)."""
    where = slice(LONG - SHORT, LONG) if side == "left" else slice(0, SHORT)
    batch, mask = torch.randn(LONG, 2, WIDTH), torch.zeros(2, LONG, dtype=torch.bool)
    batch[where, 0] = sentence[:, 0]
    mask[0] = True
    mask[0, where] = False
    return batch, mask, where


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("terms", PATTERNS)
def test_self_attention_of_a_sentence_ignores_the_padding_of_its_batch(terms, side):
    torch.manual_seed(0)
    module, sentence = randomise(GeneralizedAttention1d(WIDTH, terms, 2)), torch.randn(SHORT, 1, WIDTH)
    batch, mask, where = padded(sentence, side)
    assert relative_error(module(batch, None, mask)[0][where, :1], module(sentence)[0]) < 1e-5


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("terms", PATTERNS)
def test_encoder_decoder_attention_ignores_the_padding_of_the_source(terms, side):
    torch.manual_seed(0)
    module, sentence = randomise(GeneralizedAttention1d(WIDTH, terms, 2)), torch.randn(SHORT, 1, WIDTH)
    memory, mask, where = padded(sentence, side)
    queries = torch.randn(6, 2, WIDTH)
    expected, weights = module(queries[:, :1], sentence, need_weights=True)
    y, padded_weights = module(queries, memory, mask, need_weights=True)
    assert relative_error(y[:, :1], expected) < 1e-5
    assert relative_error(padded_weights[:1, :, where], weights) < 1e-5
    assert relative_error(generalized_attention_1d_reference(module, queries, memory, mask), y) < 1e-5
    state: dict = {}
    steps = [module(queries[t : t + 1], memory, mask, state)[0] for t in range(len(queries))]
    assert relative_error(torch.cat(steps), y) < 1e-5


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("operator", HYBRIDS)
def test_convolutions_ignore_the_padding_of_their_batch(operator, side):
    torch.manual_seed(0)
    module, sentence = randomise(HYBRIDS[operator]()).eval(), torch.randn(SHORT, 1, WIDTH)
    batch, mask, where = padded(sentence, side)
    first = lambda y: y[0] if isinstance(y, tuple) else y  # noqa: E731
    y = first(module(batch, key_padding_mask=mask))[where, :1]
    assert relative_error(y, first(module(sentence))) < 1e-5
