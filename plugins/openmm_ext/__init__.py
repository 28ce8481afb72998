"""Operators of convattn as mmengine modules: one module a file, named in a config's `custom_imports`."""
