"""What all tests share: how a case is named, and that each run is a process of its own unless a test says otherwise.

The workers of pytest-xdist each collect the tests and must find the same names. Pytest names a case after its bytes;
those of an archive hold the second in which it was written, so two workers may differ.
"""

import os

os.environ["CONVATTN_WARM"] = "0"


def pytest_make_parametrize_id(config, val, argname):
    """Bytes are named after their argument; pytest numbers equal names."""
    return argname if isinstance(val, bytes) else None
