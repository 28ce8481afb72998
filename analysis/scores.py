"""What single test items score, run by run: items.parquet beside runs.csv, with the columns run, item and score.

A published folder has one items.parquet of all its runs, with all that each keeps of its items, by its task.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from plugins.suite import items
from plugins.suite.errors import UserError
from plugins.suite.files import one_line, write_bytes

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
    """Frames below each other as one Parquet file, `run` first; equal frames give equal bytes.

    A column that a frame lacks is null in its rows, and keeps its type.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    tables = [pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata() for frame in frames]
    whole = pa.concat_tables(tables, promote_options="permissive")
    buffer = io.BytesIO()
    ordered = whole.select(["run", *(name for name in whole.column_names if name != "run")])
    parquet.write_table(ordered, buffer, compression="zstd", compression_level=19)  # written once, committed for good
    return buffer.getvalue()


def by_run(path: Path, study: str | None = None) -> dict[str, pd.DataFrame]:
    """{study/ablation/arm/seed<k>: its items, with the columns that it has} of a published items.parquet, of one study
    or of all; {} where there is no file. UserError for one that is cut short, or holds a run twice."""
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    if not path.is_file():
        return {}
    chosen = None if study is None else compute.starts_with(compute.field("run"), f"{study}/")
    try:
        table = parquet.read_table(path, filters=chosen)
    except (pa.ArrowException, OSError) as problem:
        raise UserError(f"{path}: not a whole Parquet file ({one_line(problem, 120)}); make it again") from None
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise UserError(f"{path}: column '{lacking[0]}' is missing; publish again")
    stretches = compute.run_end_encode(table["run"].combine_chunks())
    ends = stretches.run_ends.to_pylist()
    frames: dict[str, pd.DataFrame] = {}
    for name, start, end in zip(stretches.values.to_pylist(), [0, *ends][:-1], ends, strict=True):
        if name in frames:
            raise UserError(f"{path}: holds {name} twice; publish again")
        part = table.slice(start, end - start)
        kept = [column for column in part.column_names if part[column].null_count < end - start]
        frames[name] = part.select(kept).to_pandas()
    return frames


def read(path: Path) -> pd.DataFrame:
    """The scores; an empty frame where none were collected."""
    return items.read(path) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))
