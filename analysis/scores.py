"""What single test items score, run by run: items.parquet beside runs.csv, with the columns run, item and score."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from plugins.suite import items
from plugins.suite.files import write_bytes

NAME = "items.parquet"
COLUMNS = ("run", "item", "score")


def write(path: Path, by_run: Mapping[str, pd.DataFrame]) -> None:
    """The scores of {run: items}, in the order given."""
    frames = [frame[["item", "score"]].assign(run=run)[list(COLUMNS)] for run, frame in by_run.items()]
    empty = pd.DataFrame(
        {"run": pd.Series(dtype=str), "item": pd.Series(dtype="int32"), "score": pd.Series(dtype=float)}
    )
    write_bytes(path, parquet_of(frames or [empty]))


def parquet_of(frames: Sequence[pd.DataFrame]) -> bytes:
    """Frames below each other as one Parquet file, `run` first; equal frames give equal bytes."""
    whole = pd.concat(frames, ignore_index=True)
    whole = whole[["run", *(name for name in whole.columns if name != "run")]]
    buffer = io.BytesIO()
    whole.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def read(path: Path) -> pd.DataFrame:
    """The scores; an empty frame where none were collected."""
    return items.read(path) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))
