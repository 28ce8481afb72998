"""Which module runs a recipe's `engine`. Each has command, train, evaluate, measured_model and cost_model."""

from __future__ import annotations

import importlib
from types import ModuleType

ENGINES = {
    "fairseq": "plugins.fairseq_ext.engine",
    "mmdet": "plugins.openmm_ext.engine",
    "mmseg": "plugins.openmm_ext.engine",
    "mmpretrain": "plugins.openmm_ext.engine",
}


def load_engine(spec: dict) -> ModuleType:
    """The engine of a resolved spec; imports its framework."""
    return importlib.import_module(ENGINES[spec["engine"]])
