"""How the files of `experiments/` are typed: strict pydantic models, and the one line that a fault of a file gets.

A model's field says in words what it is (`description`), its unit where it has one (`unit`), and its range; messages
and docs/experiments.md are made of the same words. Nothing is converted: text is no number, 1 is not true.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from plugins.suite.errors import UserError
from plugins.suite.files import DEEPEST, nearest, one_line

Model = TypeVar("Model", bound=BaseModel)
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


class Strict(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            raise PydanticCustomError("rule", "{text}", {"text": f"must be a mapping of keys, is {kind_of(content)}"})
        keys = keys_of(cls)
        for key in content:
            if cls.model_config["extra"] == "forbid" and key not in keys:
                raise PydanticCustomError("rule", "{text}", {"text": f"unknown key '{key}'{nearest(key, keys)}"})
        return content


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a model knows, as a file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def described(description: str, default: Any = ..., unit: str = "", optional: bool = False, **limits: Any) -> Any:
    """A field with its words. `unit`: of the number; `optional`: it stays absent, there is no default to fill in."""
    extra = {"unit": unit, "optional": optional}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def absent(description: str, unit: str = "", **limits: Any) -> Any:
    """A field that stays out of a resolved run where no file gives it."""
    return described(description, None, unit, True, exclude_if=lambda value: value is None, **limits)


def is_optional(field: FieldInfo) -> bool:
    """Whether a field stays absent where no file gives it."""
    return bool((field.json_schema_extra or {}).get("optional"))


def unique(items: list) -> list:
    """For lists that name each item once."""
    twice = next((item for place, item in enumerate(items) if item in items[:place]), None)
    if twice is not None:
        raise PydanticCustomError("rule", "{text}", {"text": f"{twice!r} is given twice; remove one"})
    return items


def pattern(text: str, rule: str) -> Any:
    """Text that fits a pattern to its very end; `rule` says in words what that is."""
    return Annotated[str, StringConstraints(pattern=rf"\A(?:{text})\z", strict=True), rule]


def fault(key: str, text: str) -> PydanticCustomError:
    """What a validator raises for a rule that more than one key takes part in; `key` is the one to name."""
    return PydanticCustomError("rule", "{text}", {"text": text, "key": key})


def kind_of(value: Any) -> str:
    """The type of a value in the words of a file."""
    names = {dict: "a mapping", list: "a list", str: f"text ({one_line(value, 40)!r})", type(None): "empty"}
    return names.get(type(value), one_line(repr(value), 60))


def parse(model: type[Model], content: Any, source: str | Path, at: tuple[str, ...] = ()) -> Model:
    """`content`, as read from a file, as a `model`. UserError, one line: source, dotted key, rule, nearest valid key.

    `at`: the keys under which `content` stands in its file.
    """
    problem = plain_problem(content, ".".join(at))
    if problem:
        raise UserError(f"{source}: {problem}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_line(model, error.errors(include_url=False)[0], at)}") from None


def plain_problem(value: Any, where: str = "", depth: int = 0) -> str:
    """Why `value` is not made of finite numbers, text, true, false, null, lists and mappings alone; "" where it is."""
    at = f"{where}: " if where else ""
    if depth > DEEPEST:
        return f"{one_line(at, 80)}nested more than {DEEPEST} levels deep"
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return f"{at}key {key!r} is not text; write it in quotes"
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{at}{value} is not a finite number"
    elif value is None or isinstance(value, bool | int | float | str):
        return ""
    else:
        return f"{at}{one_line(repr(value), 60)} is neither text, number, true, false, null, list nor mapping"
    for key, child in inner:
        at = one_line(repr(key)[1:-1], 60) if isinstance(key, str) else str(key)  # no line break of a key's own
        problem = plain_problem(child, f"{where}.{at}" if where else at, depth + 1)
        if problem:
            return problem
    return ""


def _line(model: type[BaseModel], error: Mapping, at: tuple[str, ...]) -> str:
    """An error of pydantic's in one line of ours."""
    keys, field = _place(model, error["loc"])
    keys = [*at, *keys]
    context = error.get("ctx") or {}
    if error["type"] == "missing":
        return f"{_dotted(keys[:-1])}key '{keys[-1]}' is missing"
    if "text" in context:
        return f"{_dotted([*keys, *filter(None, [context.get('key')])])}{one_line(context['text'])}"
    shown = one_line(repr(error["input"]), 60)
    if field is None:
        return f"{_dotted(keys)}{shown} does not fit; {one_line(error['msg'], 120)}"
    rule, choices = rule_of(field), list(_choices(field.annotation))
    if error["type"] == "literal_error" and " or " not in rule:
        return f"{_dotted(keys)}{shown} is not allowed{nearest(error['input'], choices)}"
    rate = "a number" in rule and _is_number(error["input"])
    hint = "; write a rate as 0.001 or 1.0e-3, without quotes" if rate else ""
    return f"{_dotted(keys)}{shown} does not fit; it must be {rule}: {field.description}{hint}"


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value, re.ASCII | re.I) is not None


def _dotted(keys: list) -> str:
    return f"{one_line('.'.join(map(str, keys)), 120)}: " if keys else ""


def _place(model: type[BaseModel], location: tuple) -> tuple[list, FieldInfo | None]:
    """(keys as a file has them, the field they lead to) of pydantic's location, which names members of unions too."""
    keys: list = []
    field, annotation = None, model
    for part in location:
        inside = next((m for m in models_in(annotation) if part in keys_of(m)), None)
        if inside is not None:
            field = next(f for name, f in inside.model_fields.items() if part in (name, f.alias))
            keys, annotation = [*keys, part], field.annotation
        elif isinstance(part, int) or dict in _origins(annotation):
            keys = [*keys, part]
    return keys, field


def _parts(annotation: Any) -> tuple:
    return typing.get_args(annotation)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation holds, in whatever lists, mappings and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in _parts(annotation):
        yield from models_in(part)


def _origins(annotation: Any) -> set:
    return {typing.get_origin(annotation)}.union(*(_origins(part) for part in _parts(annotation)))


def _choices(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from _parts(annotation)
    else:
        for part in _parts(annotation):
            yield from _choices(part)


def rule_of(field: FieldInfo) -> str:
    """What a value of a field must be, in words: "a whole number, at least 1"."""
    limits = _limits(field.metadata)
    unit = (field.json_schema_extra or {}).get("unit", "")
    return ", ".join(filter(None, [_kind(field.annotation, field.metadata), *limits, f"in {unit}" if unit else ""]))


def _limits(metadata: list) -> Iterator[str]:
    for limit in metadata:
        match limit:
            case annotated_types.Ge(ge=bound):
                yield f"at least {bound}"
            case annotated_types.Gt(gt=bound):
                yield f"above {bound}"
            case annotated_types.Le(le=bound):
                yield f"at most {bound}"
            case annotated_types.Lt(lt=bound):
                yield f"below {bound}"


def _kind(annotation: Any, metadata: list = ()) -> str:
    rule = next((part for part in metadata if isinstance(part, str)), None)
    if rule:
        return rule
    origin, parts = typing.get_origin(annotation), _parts(annotation)
    if origin is Annotated:
        return ", ".join([_kind(parts[0], list(parts[1:])), *_limits(_flat(parts[1:]))])
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(part) for part in parts)
    if origin in (list, tuple):
        return f"a list, each {_kind(parts[0])}"
    if origin is dict:
        return f"a mapping, each value {_kind(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping"
    return WORDS.get(annotation, "any value")


def _flat(metadata: tuple) -> list:
    """Limits one by one: pydantic's `Field` holds a list of them."""
    return [limit for part in metadata for limit in (part.metadata if isinstance(part, FieldInfo) else [part])]
