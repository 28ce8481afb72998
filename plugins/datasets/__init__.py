"""Data sets: generators of the mini data, preparers of the public sets. `prepare` writes, `manifest` checks."""
