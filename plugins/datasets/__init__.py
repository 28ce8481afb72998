"""Data sets: generators of the mini data and preparers of the public sets. `prepare` writes one, `manifest` checks one."""
