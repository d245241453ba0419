"""The command that measures."""

import pytest

from benchmarks import __main__ as command
from benchmarks.__main__ import main
from benchmarks.rows import Row, read_run


@pytest.fixture
def parts(monkeypatch):
    """Two parts, of which the second cannot run; and how often each was asked for."""
    asked = []

    def good(effort, quick):
        """A good one."""
        asked.append("tiny")
        effort.say("at it")
        yield [Row("tiny", "native", "work", milliseconds=1.0)]

    def bad(effort, quick):
        """A bad one."""
        asked.append("boots")
        yield [Row("boots", "native", "work", reason="no weights")]

    monkeypatch.setattr(command, "PARTS", {"tiny": good, "boots": bad})
    monkeypatch.setattr(command.models, "prepare", lambda *_: [])
    return asked


def test_a_run_says_what_it_does_and_keeps_what_it_finds(parts, tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["-o", str(path)]) == 0
    said = capsys.readouterr()
    assert "[1/2 tiny, 0.0 min] at it" in said.err
    assert "no weights" in said.out
    assert [row.part for row in read_run(path).rows] == ["tiny", "boots"]


def test_where_nothing_ran_it_fails(parts, tmp_path):
    assert main(["--only", "boots", "-o", str(tmp_path / "run.json")]) == 1


def test_parts_are_added_to_a_run_one_by_one(parts, tmp_path):
    path = tmp_path / "run.json"
    main(["--only", "boots", "-o", str(path)])
    main(["--only", "tiny", "-o", str(path)])
    assert [row.part for row in read_run(path).rows] == ["boots", "tiny"]


def test_a_run_goes_on_where_it_was_stopped(parts, tmp_path):
    path = tmp_path / "run.json"
    main(["--only", "boots", "-o", str(path)])
    main(["--resume", "-o", str(path)])
    assert parts == ["boots", "tiny"]
    assert main(["--resume", "-o", str(path)]) == 0
    assert parts == ["boots", "tiny"]


def test_a_part_that_was_interrupted_is_not_taken_for_done(parts, tmp_path, monkeypatch):
    path = tmp_path / "run.json"

    def interrupted(effort, quick):
        """It is stopped after its first row."""
        yield [Row("boots", "native", "work", milliseconds=1.0)]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(command.PARTS, "boots", interrupted)
        assert main(["-o", str(path)]) == 130
    assert len(read_run(path).of("boots")) == 1
    main(["--resume", "-o", str(path)])
    assert parts == ["tiny", "boots"]
    assert [row.reason for row in read_run(path).of("boots")] == ["no weights"]


def test_parts_of_two_machines_do_not_go_into_one_file(parts, tmp_path, capsys):
    path = tmp_path / "run.json"
    main(["--only", "tiny", "-o", str(path)])
    run = read_run(path)
    run.machine["processor"] = "another"
    run.save(path)
    assert main(["--only", "boots", "-o", str(path)]) == 2
    assert "another machine" in capsys.readouterr().err


def test_an_unknown_part_is_refused(parts, capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "tiny" in capsys.readouterr().err
