"""Which options of fairseq a model asks for, and which file of `layers` answers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from plugins.fairseq_ext import layers
from plugins.fairseq_ext.options import ATTENTION_OPTIONS, _spatial_attention, _widening, spread, user_dir


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        ({"parallel": False}, False),
        ({"parallel": True}, True),
        ({"attention": None}, True),
        ({"deformable": False}, False),
        ({"deformable": True}, True),
        ({"encoder_attention": {"terms": "0111"}}, True),
    ],
)
def test_the_plain_transformer_alone_is_fairseq_s_own(model, ours):
    assert (user_dir(model) is not None) == ours


@pytest.mark.parametrize(
    ("model", "terms"),
    [
        ({"attention": {"terms": "0010"}}, "0010"),
        ({"attention": None}, "none"),
        ({"deformable": True}, "none"),
        ({"encoder_attention": {"terms": "0010"}}, "own"),
        ({"encoder_attention": {"terms": "0010"}, "deformable": False}, "own"),
    ],
)
def test_null_takes_self_attention_out_and_absence_leaves_fairseq_s(model, terms):
    assert _spatial_attention(model)["self-attention-terms"] == terms


def test_sizes_are_spread_over_the_layers_as_evenly_as_whole_layers_allow():
    assert spread([3, 7, 15, 31], 12) == [3] * 3 + [7] * 3 + [15] * 3 + [31] * 3
    assert spread([3, 7, 15, 31], 2) == [3, 15]


def test_a_widened_ffn_has_the_parameters_of_the_convolution():
    """d^2 + d H sum(K) + n = 4096 + 4608 + 2 of a convolution, 129 a unit of the FFN."""
    assert _widening({"width": 64, "heads": 4, "ffn_widened_for": [3, 15]}) == round(8706 / 129)
    assert _widening({"width": 64, "heads": 4}) == 0


def test_every_file_of_layers_says_which_option_asks_for_it():
    """As plain literals, which are read without importing anything."""
    options = set()
    for path in Path(layers.__file__).parent.glob("[!_]*.py"):
        constants = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
        }
        assert constants["TASKS"] == ("translation",), path
        options.add(constants["OPTION"])
    assert options == ATTENTION_OPTIONS | {"parallel"}
