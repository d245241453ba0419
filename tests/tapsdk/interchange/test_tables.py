"""Parquet, and recordings for Rerun."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tapsdk.errors import SaveError
from tests.tapsdk.interchange.made import awkward, plain


def test_pandas_reads_parquet(tmp_path):
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'tapsdk[batch]'")
    tracks = awkward()
    tracks.export(tmp_path / "tracks.parquet")
    found = pandas.read_parquet(tmp_path / "tracks.parquet")
    assert list(found.columns) == list(tracks.to_dict())
    for name, column in tracks.to_dict().items():
        assert found[name].dtype == column.dtype
        expected = np.where(np.isfinite(column), column, np.nan) if column.dtype.kind == "f" else column
        np.testing.assert_array_equal(found[name], expected)


def test_parquet_has_null_and_never_nan(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'tapsdk[batch]'")
    awkward().export(tmp_path / "tracks.parquet")
    table = parquet.read_table(tmp_path / "tracks.parquet")
    assert [table[name].null_count for name in ("x", "y", "confidence", "visible")] == [2, 2, 1, 0]


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (2, 0)])
def test_parquet_of_few_points_and_few_frames(tmp_path, points, frames):
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'tapsdk[batch]'")
    plain(points, frames).export(tmp_path / "tracks.parquet")
    assert len(pandas.read_parquet(tmp_path / "tracks.parquet")) == points * frames


def printed(path):
    """{entity: {frame: numbers}} as Rerun's own program prints them."""
    command = [sys.executable, "-m", "rerun", "rrd", "print", "-vvv", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found = {}
    for chunk in text.split("\nChunk(")[1:]:
        entity = re.search(r" - (/\S*) - ", chunk)[1]
        rows = re.findall(r"row_\w+ +┆ (\d+) +┆.*┆ (\[.*?\]) +│", chunk)
        found.setdefault(entity, {}).update(
            {int(t): [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", cells)] for t, cells in rows}
        )
    return found


def test_rerun_reads_its_recording(tmp_path):
    pytest.importorskip("rerun", reason="needs rerun: pip install 'tapsdk[rerun]'")
    tracks = awkward()
    tracks.export(tmp_path / "tracks.rrd")
    points = printed(tmp_path / "tracks.rrd")["/points"]
    assert list(points) == [0, 1, 2, 3, 4, 5]
    for t, numbers in points.items():
        np.testing.assert_allclose(np.reshape(numbers, (-1, 2)), tracks.xy[tracks.visible[:, t], t], rtol=1e-6)


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (2, 0)])
def test_a_recording_of_few_points_and_few_frames(tmp_path, points, frames):
    pytest.importorskip("rerun", reason="needs rerun: pip install 'tapsdk[rerun]'")
    plain(points, frames).export(tmp_path / "tracks.rrd")
    assert len(printed(tmp_path / "tracks.rrd").get("/points", {})) == frames


@pytest.mark.parametrize(("module", "suffix", "extra"), [("pyarrow", "parquet", "batch"), ("rerun", "rrd", "rerun")])
def test_a_package_that_is_missing_is_asked_for(tmp_path, monkeypatch, module, suffix, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SaveError, match=rf"pip install 'tapsdk\[{extra}\]'"):
        awkward().export(tmp_path / f"tracks.{suffix}")
    assert not list(tmp_path.iterdir())
