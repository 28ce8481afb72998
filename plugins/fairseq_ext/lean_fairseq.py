"""fairseq without scikit-learn and scipy.stats, imported in half of the time.

fairseq imports all of its tasks and criteria; two of them, for audio and for sentence pairs, score with these packages.
A translation needs neither. In a process that has imported fairseq or one of these before, this changes nothing there.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = ("scipy.stats", "sklearn", "sklearn.metrics")


class Absent(ModuleType):
    """A module that can be imported from; what it gives is None."""

    __path__ = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def stand_ins(names: tuple[str, ...]) -> Iterator[None]:
    """Within it, the packages `names` are `Absent`, unless they were imported before."""
    absent = {name: Absent(name) for name in names if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with stand_ins(UNUSED):
    import fairseq as fairseq
