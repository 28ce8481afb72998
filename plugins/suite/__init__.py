"""Ground floor: errors, files, the catalogue of experiments, data manifests, sources. No torch, no framework.

Everything else may import it; it imports nothing of the project's other packages. Of `plugins`, `analysis` imports this
alone.
"""
