"""Operators of convattn in mmdetection, mmsegmentation and mmpretrain, and the life of a run inside mmengine.

engine      train, evaluate, measured_model, cost_model: what `plugins.runner` calls
config      resolved spec -> mmengine config; checkpoints, curves: what a training leaves on disk
hooks       what a training does beside mmengine's own loop
tasks/      one file a task: places of the operators, data, scores and items, a fixed input
layers/     one file an operator that goes into a network; families/: one file a family of backbones

A file of `layers` or `families` is a binding: its constants OPTION and TASKS say which option of a model asks for it in
which tasks, its `place(model, options, task)` writes it into an mmengine config. `placement` finds it by the constants.

Bindings are imported by name, inside a function and only when a model asks for one; packages of OpenMMLab that a
check of data does not need are imported where they are used. A run must not depend on a file that it does not use:
the files that a process has imported are the sources of its result, and editing one of them repeats the run.
"""
