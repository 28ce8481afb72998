"""Checks of arguments, shared by the operators: every message names the argument, its value and the rule.

They raise ValueError, since who calls a module writes Python. Files and options of a user are checked where they are
read (`plugins.suite`), with an error of their own.
"""

from __future__ import annotations

from torch import Tensor


def require(ok: bool, argument: str, value: object, rule: str) -> None:
    """Raise ``ValueError("argument=value: rule")`` unless ``ok``."""
    if not ok:
        raise ValueError(f"{argument}={value!r}: {rule}")


def require_choice(argument: str, value: object, choices: tuple) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    require(value in choices, argument, value, f"must be one of {', '.join(map(repr, choices))}")


def require_rate(argument: str, value: float) -> None:
    """Raise ValueError unless ``value`` can be a dropout rate, 0 <= value < 1."""
    require(0 <= value < 1, argument, value, "a dropout rate lies in [0, 1)")


def require_heads(channels_name: str, channels: int, heads: int) -> None:
    """Raise ValueError unless ``heads`` divides ``channels``."""
    require(
        heads >= 1 and channels % heads == 0,
        "heads",
        heads,
        f"must divide {channels_name}={channels} (channels a head is a whole number)",
    )


def require_tbc(name: str, x: Tensor, channels: int) -> None:
    """Raise ValueError unless ``x`` is T x N x channels."""
    require(
        x.dim() == 3 and x.shape[2] == channels,
        f"{name}.shape",
        tuple(x.shape),
        f"must be T x N x {channels} (time first)",
    )


def require_mask(name: str, mask: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``mask`` is None or a tensor of exactly this shape."""
    if mask is not None:
        require(tuple(mask.shape) == tuple(shape), f"{name}.shape", tuple(mask.shape), f"must be {tuple(shape)}")
