"""The reference of every key of every file: python -m plugins.suite.document > docs/experiments.md

Made of the models of plugins/suite/schema.py and options.py alone, so that the document and the checks cannot differ.
"""

from __future__ import annotations

import json
import sys

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from plugins.suite import options, schema
from plugins.suite.files import one_line
from plugins.suite.typed import is_optional, models_in, rule_of

HEAD = """# The files of experiments/, key by key

Written by `python -m plugins.suite.document` from the types that check the files; do not edit. An unknown key, a value
of another type or out of range is one line: the file, the key, the rule, the nearest valid key. Of YAML, aliases
(`*x`), merge keys (`<<`) and tags (`!x`) are not read, a key that is given twice is a fault, a date is text, and a rate
is written `0.001` or `1.0e-3`.

"absent": without the key the thing is not there, or the operator's own default holds. Names of studies, ablations,
recipes and data sets are small letters, digits and `_`.
"""
# Heading, what stands below it, and the model; models that its keys hold follow it.
PARTS = (
    ("Configuration", "", schema.Configuration),
    ("Study", "", schema.Study),
    (
        "Ablation",
        "With `like`, keys and arms of the other ablation are taken over. `every_arm` is laid over each of its arms,\n"
        "and what the file itself says over both: a key takes the other's place, null drops it, `set` is merged\n"
        "key by key. In `set` a size may be a multiple of the recipe's, such as `x2`.",
        schema.Ablation,
    ),
    ("Options of translation", "Keys of `set` in an arm and of `model` in a recipe.", options.TranslationArm),
    ("Options of detection", "", options.DetectionOptions),
    ("Options of segmentation", "", options.SegmentationOptions),
    ("Options of classification", "", options.ClassificationOptions),
    ("Options of image probes", "", options.ProbeOptions),
    (
        "Recipe for fairseq",
        "With `like`, mappings are merged key by key; `data` is replaced whole.",
        schema.FairseqRecipe,
    ),
    ("Recipe for mmdet", "", schema.DetectionRecipe),
    ("Recipe for mmseg", "", schema.SegmentationRecipe),
    ("Recipe for mmseg, image probes", "", schema.ProbeRecipe),
    ("Recipe for mmpretrain", "", schema.ClassificationRecipe),
    ("Models of the papers' tables", "", schema.Models),
    ("Published numbers", "Columns of the CSV file, in this order.", schema.ReferenceRow),
    ("Metrics of a run", "", schema.Metrics),
    ("Manifest of a data set", "", schema.Manifest),
)


def document() -> str:
    """The whole document, Markdown."""
    seen: set[type[BaseModel]] = set()
    sections = [HEAD]
    for title, text, model in PARTS:
        first, *inner = with_inner(model)
        sections.append(f"## {title}\n\n" + (f"{text}\n\n" if text else "") + section(first))
        sections += [f"### {other.__name__}\n\n{section(other)}" for other in inner if other not in seen]
        seen.update(inner)
    return "\n".join(sections)


def with_inner(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and, behind it, those that its fields hold, each once; options by task have parts of their own."""
    order = [model]
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            if not issubclass(inner, TASK_OPTIONS):
                order += [deeper for deeper in with_inner(inner) if deeper not in order]
    return order


def section(model: type[BaseModel]) -> str:
    """One model: its docstring and a table of its keys."""
    lines = [escaped(one_line(model.__doc__ or "", 1000)), ""]
    lines += ["| key | value | default | what it is |", "|---|---|---|---|"]
    lines += [row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def row(name: str, field: FieldInfo) -> str:
    """One key."""
    inner = ", ".join(model.__name__ for model in models_in(field.annotation))
    value = rule_of(field) + (f" ({inner})" if inner else "")
    return f"| `{field.alias or name}` | {escaped(value)} | {default(field)} | {escaped(field.description or '')} |"


def default(field: FieldInfo) -> str:
    """What stands for a key that is not given."""
    if field.is_required():
        return "required"
    if is_optional(field):
        return "absent"
    if isinstance(field.default, BaseModel):
        return "its keys' defaults"
    return json.dumps(field.default)


def escaped(text: str) -> str:
    """Text for a cell: what Markdown would read as a tag or a border is plain text."""
    return text.replace("|", "\\|").replace("<", "&lt;")


TASK_OPTIONS = (options.TranslationOptions, options.DetectionOptions, options.ClassificationOptions)


if __name__ == "__main__":
    sys.stdout.write(document())
