"""Data sets: generators of the mini data, preparers of the public sets. `prepare` writes one, `verify` checks one."""

from plugins.datasets.manifest import verify
from plugins.datasets.prepare import prepare

__all__ = ["prepare", "verify"]
