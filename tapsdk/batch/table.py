"""What became of every video of a batch."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import as_json
from tapsdk.system.places import place

if TYPE_CHECKING:
    import pandas

NEEDS_PYARROW = "a .parquet file needs a package that is not installed: pip install 'tapsdk[batch]'"
Status = Literal["done", "kept", "partial", "failed"]


@dataclass(frozen=True)
class Row:
    """What became of one video.

    status: "done"; "kept", its tracks were there already, and whole; "partial", it ends early, such as a file that was
        cut off, and the tracks with it; "failed".
    reason: why it failed, or ends early, in one sentence.
    visible: the share of points and frames that can be seen. confidence: the median. seconds: that it took.
    key: of what the tracks were made: the video's bytes, the points, the model and the options.
    """

    video: str
    output: str
    status: Status
    reason: str = ""
    points: int = 0
    frames: int = 0
    visible: float | None = None
    confidence: float | None = None
    seconds: float = 0.0
    key: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True, eq=False)
class Table:
    """What became of every video of a batch, in the order of the jobs.

        table = tapsdk.batch.run("videos", grid=10, output="tracks")
        print(table)
        table.to_dataframe().query("status == 'failed'")

    It is a sequence of `Row`s.
    """

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __repr__(self) -> str:
        count = Counter(row.status for row in self.rows)
        said = ", ".join(f"{number} {status}" for status, number in count.items()) or "nothing was done"
        return f"{len(self)} videos: {said}"

    @property
    def failed(self) -> tuple[Row, ...]:
        """Those without tracks, or with tracks that end early."""
        return tuple(row for row in self.rows if row.reason)

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns by the names of `Row`'s fields."""
        return {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}

    def to_dataframe(self) -> pandas.DataFrame:
        """The columns of `to_dict` as a pandas DataFrame. Raises ImportError where pandas is not installed."""
        import pandas

        return pandas.DataFrame(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a .json, .csv or .parquet file, by path or URL. Raises SaveError.

        A .parquet file needs `pip install 'tapsdk[batch]'`.
        """
        suffix = place(path).suffix.lower()
        if suffix not in _FORMATS:
            raise SaveError(f"could not write {place(path)}: the suffix must be one of {', '.join(_FORMATS)}")
        written = _FORMATS[suffix](self)
        with AtomicFile(path) as file:
            file.write(written)


def _json(table: Table) -> bytes:
    rows = [as_json(asdict(row)) for row in table.rows]
    return (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode()


def _csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *map(astuple, table.rows)])
    return text.getvalue().encode()


def _parquet(table: Table) -> bytes:
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        raise SaveError(NEEDS_PYARROW) from None
    types = {"int": pyarrow.int64(), "float": pyarrow.float64(), "float | None": pyarrow.float64()}
    schema = pyarrow.schema([(field.name, types.get(str(field.type), pyarrow.string())) for field in fields(Row)])
    file = io.BytesIO()
    write_table(pyarrow.table(table.to_dict(), schema=schema), file)
    return file.getvalue()


_FORMATS: dict[str, Callable[[Table], bytes]] = {".json": _json, ".csv": _csv, ".parquet": _parquet}


def in_order(numbered: Sequence[tuple[int, Row]]) -> Table:
    """The table of rows that came in any order, each with the number of its job."""
    return Table(tuple(row for _, row in sorted(numbered, key=lambda each: each[0])))
