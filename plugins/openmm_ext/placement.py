"""From the options of a model to operators in an mmengine config: each option's binding writes its own."""

from importlib import import_module
from types import ModuleType

from plugins.suite.errors import UserError
from plugins.suite.files import nearest
from plugins.suite.sources import bindings, bindings_of

PACKAGE = "openmm_ext"


def place_operators(model: dict, options: dict, task: ModuleType) -> list[str]:
    """Write the operators that `options` ask for into a model's config; returns the modules to import with it.

    task: a module of `plugins.openmm_ext.tasks`. UserError for an option that the task does not know, and for options
    that do not go together.
    """
    known = {*_known(task), *task.OPTIONS}
    for option, value in options.items():
        if value is not None and option not in known:
            raise UserError(f"model.{option}: not known to the task {task.NAME}{nearest(option, known)}")
    modules = bindings_of(PACKAGE, task.NAME, options)
    _check_backbone(model, modules, task)
    for option, module in modules.items():
        import_module(module).place(model, options[option], task)
    return list(modules.values())


def _check_backbone(model: dict, modules: dict[str, str], task: ModuleType) -> None:
    """UserError unless one family gives the backbone, or none where the recipe's model has one of its own."""
    families = [option for option, module in modules.items() if _is_family(module)]
    if len(families) > 1 or (not families and model.get("backbone") is None):
        known = ", ".join(option for option, module in _known(task).items() if _is_family(module))
        raise UserError(f"model: names {' and '.join(families) or 'no backbone'}; give exactly one of {known}")
    others = sorted(modules.keys() - set(families))
    if families and others:
        raise UserError(
            f"model.{families[0]}: brings its own backbone, which has no {others[0]}; leave one of them out"
        )


def _known(task: ModuleType) -> dict[str, str]:
    """{option: module} of all bindings of a task."""
    return {
        option: binding.module
        for binding in bindings(PACKAGE)
        if task.NAME in binding.tasks
        for option in binding.options
    }


def _is_family(module: str) -> bool:
    return module.startswith(f"plugins.{PACKAGE}.families.")
