"""A family's backbone under the feature pyramid of a detector or segmentor."""

from plugins.suite.errors import UserError


def place_backbone(model: dict, option: str, config: dict, channels: list[int]) -> None:
    """Put a backbone, all of whose stages (`channels` each) go into the neck, into a model's config.

    Options that the recipe's config gives its backbone (`norm_cfg`, `frozen_stages`, ..) stay. UserError where the
    recipe's model has no neck; `option` is the one that asked for the backbone.
    """
    if model.get("neck") is None:
        raise UserError(f"model.{option}: the recipe's model has no neck to take its stages; name a config with an FPN")
    model["backbone"] = config | dict(model["backbone"]) | {"out_indices": tuple(range(len(channels)))}
    model["neck"]["in_channels"] = channels
