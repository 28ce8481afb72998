"""Data sets: generators of the mini data, preparers of the public sets. `prepare` writes, `plugins.suite.data` checks."""
