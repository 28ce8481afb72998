"""fairseq's `--user-dir`: safe checkpoint loading, and the models and architectures of folder `models`."""

from . import safe_load as safe_load
