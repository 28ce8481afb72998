"""Numerical parity with recorded runs of official implementations.

A fixture is one ``.safetensors`` file: parameters, inputs, outputs and gradients of somebody else's module, with its
constructor and tolerances as metadata. Each sibling module holds the adapters of one family::

    CASES: dict[str, Callable[[constructor, data, meta], dict]]

keyed by the recorded class name. An adapter returns ``module``, ``parameters`` (official name -> where it goes in our
module), ``forward`` and, where the operator has one, ``reference``: both ``callable(module, inputs) -> y`` (or a dict
of outputs by name). A value of ``parameters`` is our name, ``(our name, slice)`` for some of our rows, ``(our name,
to_ours, to_official)`` for a change of layout (the second function maps our gradient back), or None where we have no
such parameter. An adapter raises ValueError, in one line, for what the operator cannot serve.

Both forms are compared with the record in float32: ``|ours - recorded| <= atol + rtol * |recorded|`` for every key. The
fast form must give every recorded output, the reference form the main one. A record without ``grad_output/y`` has
outputs alone. Modules run in evaluation mode, or in training mode where the metadata has ``mode: train``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn


class FixtureError(Exception):
    """A fixture that cannot be run: broken file, unknown case, or an adapter that does not fit. One line."""


@dataclass(frozen=True)
class Fixture:
    """One recorded case: tensors by key, metadata strings, and the two parsed parts that every check needs."""

    data: dict[str, Tensor]
    meta: dict[str, str]
    constructor: dict
    tolerance: dict[str, dict[str, float]]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under ``prefix/`` by what follows it."""
        return {key.removeprefix(prefix + "/"): t for key, t in self.data.items() if key.startswith(prefix + "/")}


@dataclass
class Errors:
    """Largest absolute differences of one form, the largest share of its tolerance, and what exceeds it."""

    output: float = 0.0
    inputs: float = 0.0
    parameters: float = 0.0
    share: float = 0.0
    failed: tuple[str, ...] = ()


def load(path: Path) -> Fixture:
    """Read a fixture. Raises FixtureError when the file or its metadata is not usable."""
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            data = {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:  # safetensors raises its own type, OSError or RuntimeError by the kind of damage
        raise FixtureError(f"not a readable safetensors file ({_line(error)})") from error
    missing = [key for key in ("class", "constructor", "tolerance") if key not in meta]
    missing += [key for key in ("output/y",) if key not in data]
    if any(key.startswith(("grad_input/", "grad_param/")) for key in data) and "grad_output/y" not in data:
        missing.append("grad_output/y")
    if missing:
        raise FixtureError(f"lacks {', '.join(missing)}")
    try:
        constructor, tolerance = json.loads(meta["constructor"]), json.loads(meta["tolerance"])
    except json.JSONDecodeError as error:
        raise FixtureError(f"metadata is not JSON ({_line(error)})") from error
    return Fixture(data, meta, constructor, tolerance)


def cases() -> dict[str, Callable]:
    """Adapters of all families, found by importing this package's modules. A family that fails to import is left out
    of the answer and reported by the cases that need it (see `family_errors`)."""
    known: dict[str, Callable] = {}
    family_errors.clear()
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        try:
            known.update(importlib.import_module(f"{__name__}.{info.name}").CASES)
        except Exception as error:  # one broken family must not hide the others
            family_errors[info.name] = _line(error)
    return known


family_errors: dict[str, str] = {}


def adapt(fixture: Fixture, known: dict[str, Callable]) -> dict:
    """Build our module for a fixture and copy its parameters in. Raises FixtureError."""
    name = fixture.meta["class"]
    builder = known.get(name) or known.get(name.split("(")[0].strip())
    if builder is None:
        broken = "".join(f"; family {family} did not import: {error}" for family, error in family_errors.items())
        raise FixtureError(f"unknown case: no adapter for class {name!r}{broken}")
    try:
        case = builder(fixture.constructor, fixture.data, fixture.meta)
        case["module"].float().train(fixture.meta.get("mode", "eval") == "train")
        _fill(case, fixture)
    except FixtureError:
        raise
    except Exception as error:  # whatever an unforeseen constructor does, it is one line in the table
        raise FixtureError(f"cannot build {name}: {type(error).__name__}: {_line(error)}") from error
    return case


def compare(fixture: Fixture, case: dict, form: str) -> Errors:
    """Run one form (`forward` or `reference`) forward and backward and hold it against the record."""
    inputs = {
        name: t.clone().requires_grad_(t.is_floating_point() and f"grad_input/{name}" in fixture.data)
        for name, t in fixture.named("input").items()
    }
    module: nn.Module = case["module"]
    module.zero_grad(set_to_none=True)
    try:
        result = case[form](module, inputs)
        outputs = result if isinstance(result, dict) else {"y": result}
        if "grad_output/y" in fixture.data:
            (outputs["y"] * fixture.data["grad_output/y"]).sum().backward()
        # Outputs beside the main one are optional in a record.
        ours = {f"output/{name}": t.detach() for name, t in outputs.items() if f"output/{name}" in fixture.data}
        ours |= {f"grad_input/{name}": inputs[name].grad for name in fixture.named("grad_input")}
        ours |= _parameter_gradients(case, fixture)
    except Exception as error:
        raise FixtureError(f"{form} form: {type(error).__name__}: {_line(error)}") from error
    wanted = fixture.named("output") if form == "forward" else ("y",)
    absent = [name for name in wanted if f"output/{name}" not in ours]
    if absent:
        raise FixtureError(f"{form} form: gives no output {', '.join(absent)}, which is recorded")
    return _errors(fixture, ours, form)


def check(path: Path, known: dict[str, Callable]) -> dict[str, Errors]:
    """Errors of both forms of one fixture file, by form. Raises FixtureError."""
    fixture = load(path)
    case = adapt(fixture, known)
    return {form: compare(fixture, case, form) for form in ("forward", "reference") if form in case}


def _fill(case: dict, fixture: Fixture) -> None:
    state = case["module"].state_dict()
    filled: set[str] = set()
    for official, tensor in fixture.named("param").items():
        if official not in case["parameters"]:
            raise FixtureError(f"parameter {official} has no counterpart in our module")
        name, to_ours, rows = _target(case["parameters"][official])
        if name is None:
            continue
        if name not in state:
            raise FixtureError(f"parameter {official} is mapped to {name}, which our module does not have")
        target = state[name] if rows is None else state[name][rows]
        value = to_ours(tensor)
        if value.shape != target.shape:
            raise FixtureError(f"parameter {official}: {tuple(value.shape)} does not fit {name} {tuple(target.shape)}")
        target.copy_(value)
        filled.add(name)
    left = [name for name, _ in case["module"].named_parameters() if name not in filled]
    if left:
        raise FixtureError(f"no recorded value for our {', '.join(left)}")


def _target(mapping) -> tuple[str | None, Callable, slice | None]:
    if mapping is None or isinstance(mapping, str):
        return mapping, lambda t: t, None
    if isinstance(mapping[1], slice):
        return mapping[0], lambda t: t, mapping[1]
    return mapping[0], mapping[1], None


def _parameter_gradients(case: dict, fixture: Fixture) -> dict[str, Tensor]:
    ours = dict(case["module"].named_parameters())
    gradients = {}
    for official, recorded in fixture.named("grad_param").items():
        mapping = case["parameters"][official]
        if mapping is None:
            gradients[f"grad_param/{official}"] = torch.zeros_like(recorded)
            continue
        name, _, rows = _target(mapping)
        gradient = ours[name].grad
        gradient = torch.zeros_like(ours[name]) if gradient is None else gradient
        if rows is not None:
            gradient = gradient[rows]
        elif not isinstance(mapping, str):
            gradient = mapping[2](gradient)
        gradients[f"grad_param/{official}"] = gradient
    return gradients


def _errors(fixture: Fixture, ours: dict[str, Tensor | None], form: str) -> Errors:
    result = Errors()
    groups = {"output": "output", "grad_input": "inputs", "grad_param": "parameters"}
    for key, value in ours.items():
        if key not in fixture.tolerance:
            raise FixtureError(f"metadata tolerance has no entry for {key}")
        recorded = fixture.data[key]
        if value is None or value.shape != recorded.shape:
            shape = None if value is None else tuple(value.shape)
            raise FixtureError(f"{form} form: {key} is {shape}, recorded {tuple(recorded.shape)}")
        difference = (value - recorded).abs()
        limit = fixture.tolerance[key]["atol"] + fixture.tolerance[key]["rtol"] * recorded.abs()
        worst = difference.max().item() if difference.numel() else 0.0
        group = groups[key.split("/")[0]]
        setattr(result, group, _larger(getattr(result, group), worst))
        result.share = _larger(result.share, (difference / limit).max().item() if difference.numel() else 0.0)
        if not bool((difference <= limit).all()):  # written so that a NaN fails
            result.failed += (key,)
    return result


def _larger(a: float, b: float) -> float:
    return a if a >= b or a != a else b


def only(options: dict, **served: tuple) -> None:
    """Raise ValueError for an option that is not among ``served``: name -> values that the operator serves, or () for
    any value."""
    for name, value in options.items():
        if name not in served:
            raise ValueError(f"{name}={value!r}: not an option of our operator")
        if served[name] and value not in served[name]:
            raise ValueError(f"{name}={value!r}: our operator has {' or '.join(map(repr, served[name]))} only")


def side(value: int | list[int], name: str) -> int:
    """The one number of an option that may be given for two axes. Raises ValueError where the axes differ."""
    both = [value, value] if isinstance(value, int) else list(value)
    if len(set(both)) != 1:
        raise ValueError(f"{name}={value}: our operator has one value for both axes")
    return both[0]


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
