"""Pages made of runs."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.__main__ import main
from benchmarks.parts import PARTS
from benchmarks.report import blank_page, figures, render, write_report
from benchmarks.rows import Row, Run, RunFileError, read_run
from tests.support import ROOT

MACHINE = {
    "processor": "A <fast> & good one",
    "cores": 2,
    "isa": "avx2",
    "available_isas": ["scalar", "avx2"],
    "python": "3.12",
    "versions": {"tapsdk": "1", "torch": "2"},
}


@pytest.fixture
def run():
    curve = [
        Row("points", runner, f"{n} points", n, "native", milliseconds=ms * n, peak_megabytes=100 + n, points=n)
        for runner, ms in (("native", 2.0), ("literal", 9.0))
        for n in (1, 64, 4096)
    ]
    return Run(
        MACHINE,
        [
            Row("tiny", "native", "some work", None, "native", milliseconds=12.34, ratio=1.0, gigaflops=50, share=0.71),
            Row("tiny", "literal", "some work", None, "native", milliseconds=50, ratio=4.1, low=4.0, high=4.2, pairs=9),
            Row("tiny", "jax", "some work", None, "native", reason="needs jax: pip install 'this | that'"),
            Row("stages", "native", "some work", milliseconds=9, stages={"encode": 6.0, "Python": 3.0}),
            Row("stages", "fused", "some work", reason="did not run"),
            *curve,
            Row("points", "literal", "9999 points", 9999, "native", reason="not tried: 20 s a frame"),
        ],
        load={"tiny": 3.5, "points": None},
    )


def table_rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_every_table_is_whole(run):
    page = render(blank_page(), run)
    blocks = page.split("## ")[1:]
    assert [block.split("\n")[0] for block in blocks] == ["machine", *PARTS]
    for block in blocks:
        widths = {line.count("|") for line in table_rows(block)}
        assert len(widths) <= 1, block


def test_numbers_and_reasons_stand_where_they_belong(run):
    page = render(blank_page(), run)
    assert "| some work | tapsdk, native plan | 12.3 | 1.00 | 50 | 71% | - | - |" in page
    assert "| some work | literal form, PyTorch eager | 50 | 4.10 (4.00 to 4.20) | - | - | - | - |" in page
    assert "| some work | our module, JAX jit | needs jax: pip install 'this / that' | - |" in page
    assert "| work | plan | ms per frame | encode | Python |" in page
    assert "A <fast> & good one, 2 cores, kernels with avx2 (also there: scalar)" in page
    assert "3.5 to 3.5 processes wanted to" in page


def test_a_part_that_was_not_measured_says_how(run):
    assert "`python -m benchmarks --only clip`" in render(blank_page(), run)


def test_curves_are_drawn_as_sound_xml_with_a_line_for_each_runner(run):
    drawings = figures(run)
    assert list(drawings) == ["points-time", "points-memory"]
    for text in drawings.values():
        tree = ElementTree.fromstring(text)
        lines = [each.get("points") for each in tree.iter() if each.tag.endswith("polyline")]
        assert [len(line.split()) for line in lines] == [3, 3]
        numbers = [float(n) for line in lines for pair in line.split() for n in pair.split(",")]
        assert all(0 <= n <= 600 for n in numbers)


def test_the_page_of_the_documentation_has_a_place_for_every_part():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- table: (\w+) -->", page)) == sorted(["machine", *PARTS])


def test_times_are_written_out():
    row = Row("tiny", "native", "work", milliseconds=12345.6)
    assert "| 12346 |" in render(blank_page(), Run(MACHINE, [row]))


def test_a_curve_of_one_place_is_not_drawn():
    assert figures(Run(MACHINE, [Row("points", "native", "1", 1, "native", milliseconds=3)])) == {}


def test_what_stands_outside_of_marks_stays(run):
    text = "# Ours\n\nWords.\n\n<!-- table: tiny -->\nold\n<!-- end -->\n\n<!-- table: other -->\nkept\n<!-- end -->\n"
    page = render(text, run)
    assert page.startswith("# Ours\n\nWords.\n\n<!-- table: tiny -->\n\n| work")
    assert "old" not in page
    assert page.endswith("<!-- table: other -->\nkept\n<!-- end -->\n")
    assert render(page, run) == page


def test_the_command_writes_the_page_and_its_drawings(run, tmp_path, capsys):
    run.save(tmp_path / "run.json")
    assert main(["report", str(tmp_path / "run.json"), "-o", str(tmp_path / "page.md")]) == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"run.json", "page.md", "page-points-time.svg", "page-points-memory.svg"}
    assert "](page-points-time.svg)" in (tmp_path / "page.md").read_text()


def test_a_run_comes_back_from_its_file(run, tmp_path):
    run.save(tmp_path / "run.json")
    again = read_run(tmp_path / "run.json")
    assert again == run
    write_report(again, tmp_path / "page.md")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 0}', '{"schema": 1, "rows": [3]}'])
def test_what_is_no_run_is_refused(content, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(RunFileError, match="run"):
        read_run(path)
    assert main(["report", str(path)]) == 2


def test_a_part_that_begins_anew_forgets_its_own_rows_alone(run):
    run.done = ["tiny", "points"]
    run.begin("tiny", 0.5)
    assert (run.of("tiny"), run.done, run.load["tiny"]) == ([], ["points"], 0.5)
    assert len(run.of("points")) == 7
