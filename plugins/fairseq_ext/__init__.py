"""fairseq's `--user-dir`: safe checkpoint loading, and the models and architectures of folder `models`."""

from . import lean_fairseq as lean_fairseq
from . import safe_load as safe_load
