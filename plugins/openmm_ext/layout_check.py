"""A backbone that refuses weights of another layout, where mmengine would warn and go on with random ones."""

from torch import nn

from plugins.openmm_ext.loading import UnfitCheckpoint


def refuse_other_layouts(backbone: nn.Module, resizable: tuple[str, ...] = ()) -> None:
    """Make every way of loading weights into `backbone` raise `UnfitCheckpoint` unless names and shapes are its own.

    Parameters whose name ends with one of `resizable` may have another shape but for the first axis: their module
    resizes them. Weights without any of the backbone are not its business and pass.
    """

    def check(module, weights, prefix, *_):
        own = {prefix + name: tensor.shape for name, tensor in module.state_dict().items()}
        theirs = {name: tensor.shape for name, tensor in weights.items() if name.startswith(prefix)}
        for name in [*theirs, *own] if theirs else ():
            if name not in own:
                raise UnfitCheckpoint(f"a checkpoint of another layout: it has {name}, this model has not")
            if name not in theirs:
                raise UnfitCheckpoint(f"a checkpoint of another layout: it lacks {name}")
            axes = slice(1) if name.endswith(resizable) else slice(None)
            if own[name][axes] != theirs[name][axes]:
                raise UnfitCheckpoint(
                    f"a checkpoint of another layout: {name} is {tuple(theirs[name])} in it and {tuple(own[name])} here"
                )

    backbone.register_load_state_dict_pre_hook(check)
