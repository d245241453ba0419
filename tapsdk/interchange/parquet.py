"""Tracks as a Parquet table, with PyArrow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tapsdk.errors import SaveError
from tapsdk.interchange.scene import Scene

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """The columns of `Tracks.to_dict`; what is not finite becomes null. Raises SaveError without PyArrow."""
    try:
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ImportError as error:
        raise SaveError(".parquet files are written with PyArrow: pip install 'tapsdk[batch]'") from error
    columns = tracks.to_dict()
    table = {name: arrow.array(column, mask=~np.isfinite(column)) for name, column in columns.items()}
    parquet.write_table(arrow.table(table), file)
