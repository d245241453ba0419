"""Whether a slowdown is found, and noise is not taken for one."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks.check import (
    BASELINE,
    BaselineError,
    complaints,
    confirmed,
    name_of,
    read_baseline,
    write_baseline,
)
from benchmarks.rows import Row, Run

MACHINE = {"processor": "p", "cores": 2, "isa": "avx2", "available_isas": ["avx2"], "python": "3", "versions": {}}


def row(ratio, low=None, high=None, runner="literal"):
    return Row("check", runner, "64 points", None, "native", ratio=ratio, low=low, high=high, pairs=9)


NAME = name_of(row(1))


def test_what_got_slower_is_named_with_both_ratios():
    (sentence,) = complaints({NAME: 4.0}, [row(3.0, 2.9, 3.1)]).values()
    assert sentence.startswith("slower by 25%: tapsdk, native plan beside literal form, PyTorch eager: 64 points.")
    assert "4.00 times as fast, it is 3.00 times (quartiles 2.90 to 3.10, 9 pairs)" in sentence


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(row(4.0, 3.9, 4.1), id="the same"),
        pytest.param(row(6.0, 5.9, 6.1), id="faster"),
        pytest.param(row(3.5, 3.4, 3.6), id="within the tolerance"),
        pytest.param(row(3.0, 2.0, 4.2), id="too noisy to tell"),
        pytest.param(row(None), id="it did not run"),
        pytest.param(row(0.1, runner="opencv-lk"), id="the baseline does not know it"),
        pytest.param(row(1.0, runner="native"), id="ours beside itself"),
    ],
)
def test_everything_else_passes(found):
    assert not complaints({NAME: 4.0}, [found])


def test_the_tolerance_is_that_which_is_asked_for():
    found = [row(3.5, 3.4, 3.6)]
    assert complaints({NAME: 4.0}, found, tolerance=0.05)
    assert not complaints({NAME: 4.0}, found, tolerance=0.5)


def test_a_slowdown_must_show_twice():
    slow, fine = [row(3.0, 2.9, 3.1)], [row(4.0, 3.9, 4.1)]
    assert confirmed({NAME: 4.0}, slow, lambda: fine) == []
    assert len(confirmed({NAME: 4.0}, slow, lambda: slow)) == 1


def test_where_nothing_is_slow_nothing_is_measured_again():
    assert confirmed({NAME: 4.0}, [row(4.0)], lambda: pytest.fail("it was")) == []


def test_a_baseline_is_kept_for_each_instruction_set(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, Run(MACHINE, [row(4.0)]))
    write_baseline(path, Run({**MACHINE, "isa": "neon"}, [row(2.0)]))
    assert read_baseline(path, "avx2") == {NAME: 4.0}
    assert read_baseline(path, "neon") == {NAME: 2.0}
    with pytest.raises(BaselineError, match=r"knows no machine with avx512 \(only avx2, neon\).*--write"):
        read_baseline(path, "avx512")


def test_a_missing_baseline_says_what_to_do(tmp_path):
    with pytest.raises(BaselineError, match="check --write"):
        read_baseline(tmp_path / "none.json", "avx2")


def test_the_baseline_that_is_kept_can_be_read():
    kinds = json.loads(BASELINE.read_text(encoding="utf-8"))
    assert kinds
    for isa in kinds:
        ratios = read_baseline(BASELINE, isa)
        assert ratios and all(ratio > 0 for ratio in ratios.values())


@pytest.mark.parametrize(("now", "status"), [(4.0, 0), (2.0, 1), (None, 1)])
def test_the_command_fails_on_a_slowdown_and_where_nothing_ran(now, status, tmp_path, monkeypatch, capsys):
    path = tmp_path / "baseline.json"
    write_baseline(path, Run(MACHINE, [row(4.0)]))
    monkeypatch.setattr(command.Run, "here", lambda quick=False: Run(MACHINE))
    monkeypatch.setattr(command, "measure", lambda effort: [row(now)])
    assert command.main(["check", str(path)]) == status
    said = capsys.readouterr()
    assert ("slower by 50%" in said.err) == (now == 2.0)
    assert ("nothing is slower" in said.out) == (now == 4.0)
