"""Data sets: generators of the mini data, preparers of the public ones. `prepare` writes, `suite.data` checks."""
