"""The table of a batch: rows, columns, files."""

import csv
import json
import math
import sys

import pytest

from tapsdk.batch import Row, Table
from tapsdk.errors import SaveError

ROWS = (
    Row("a.mp4", "a.npz", "done", points=2, frames=3, visible=0.5, confidence=0.25, seconds=1.5, key="ab"),
    Row("b, c.mp4", "b.npz", "failed", 'it is "bad"', seconds=0.1),
    Row("c.mp4", "c.npz", "kept", confidence=math.nan),
)


def test_it_is_a_sequence_of_rows_that_says_how_many_of_each_there_are():
    table = Table(ROWS)
    assert (len(table), table[1], list(table)) == (3, ROWS[1], list(ROWS))
    assert table.failed == (ROWS[1],)
    assert repr(table) == "3 videos: 1 done, 1 failed, 1 kept" and repr(Table(())) == "0 videos: nothing was done"


def test_json_has_an_object_a_row_and_null_for_what_is_no_number(tmp_path):
    Table(ROWS).save(tmp_path / "t.json")
    rows = json.loads((tmp_path / "t.json").read_text())
    assert rows[0]["visible"] == 0.5 and rows[1]["visible"] is None and rows[2]["confidence"] is None


def test_csv_has_a_line_a_row(tmp_path):
    Table(ROWS).save(tmp_path / "t.csv")
    header, *lines = csv.reader((tmp_path / "t.csv").read_text().splitlines())
    assert header == list(Table(ROWS).to_dict())
    assert lines[1][:4] == ["b, c.mp4", "b.npz", "failed", 'it is "bad"']


@pytest.mark.parametrize("rows", [ROWS, ROWS[1:2], ()])
def test_parquet_has_the_same_types_whatever_the_rows_are(tmp_path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import read_table

    Table(rows).save(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.num_rows == len(rows)
    assert found.schema.field("visible").type == pyarrow.float64()
    assert found.schema.field("points").type == pyarrow.int64()


def test_parquet_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SaveError, match=r"pip install 'tapsdk\[batch\]'"):
        Table(ROWS).save(tmp_path / "t.parquet")


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(SaveError, match=r"the suffix must be one of .json, .csv, .parquet"):
        Table(ROWS).save(tmp_path / "t.txt")
