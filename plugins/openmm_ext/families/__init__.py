"""Backbones of the classification studies in detectors and segmentors: the words `aaconv` and `acmix` there.

A family's module (`plugins/openmm_ext/<family>.py`) offers `backbone(words) -> (config, channels of its stages)`. The
recipe's model must have a feature pyramid as its neck; all stages of the backbone go into it.
"""

from importlib import import_module

from plugins.suite.errors import UserError

FAMILIES = ("aaconv", "acmix")


def place_backbone(model: dict, words: dict) -> list[str]:
    """Put the backbone that the words name into the model config; returns the modules to import, none where none is.

    Options that the recipe's config gives its backbone (`norm_cfg`, `frozen_stages`, ..) stay.
    """
    named = [family for family in FAMILIES if words.get(family) is not None]
    if not named:
        return []
    others = sorted(word for word, value in words.items() if value and word != named[0])
    if others:
        raise UserError(f"model.{named[0]}: brings its own backbone, which has no {others[0]}; leave one of them out")
    module = f"plugins.openmm_ext.families.{named[0]}"
    config, channels = import_module(module).backbone(words[named[0]])
    model["backbone"] = config | dict(model["backbone"]) | {"out_indices": tuple(range(len(channels)))}
    if model.get("neck") is None:
        raise UserError(
            f"model.{named[0]}: the recipe's model has no neck to take its stages; name a config with an FPN"
        )
    model["neck"]["in_channels"] = channels
    return [module]
