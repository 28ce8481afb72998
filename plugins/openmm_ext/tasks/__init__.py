"""One file a task of the OpenMMLab packages. Each holds

NAME, SCOPE         the task as specs name it; the package and its registry scope
OPTIONS             options of a model that are the task's own, no operator's
METRICS, PRIMARY    ours -> (the package's key, factor to percent); the one that decides
IMPORTS             modules beside the operators' that a config of the task imports
write_pictures      writes a run's pictures; None for a task that has none
place_layer         puts a layer's config where the task has its place for one
place_backbone      puts a family's backbone and what joins it to the head
place_data          points loaders and evaluator at a prepared folder
annotation_error    the first thing wrong with a folder's annotations
scored              the package's scores and its metric's results -> (metrics, items)
chance              the loss and the primary metric of a network that knows nothing, where they are known
fixed_work          an inference of one image and a training step of a batch, on fixed noise
cost_forward        an inference of one image on the meta device
"""
