"""Ours beside others on one workload, row by row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.measuring import Ratio, RunnerError, Turn, Worker, alone, alternate, paired_ratio
from benchmarks.rows import Row
from benchmarks.runners import RUNNERS
from benchmarks.runners.matrix import FLOPS as MATRIX_FLOPS
from benchmarks.workloads import Workload
from tapsdk.runtime.sizes import working_size
from training.models.registry import config_of

TIRED = 12.0
"""Seconds of a frame beyond which a runner is not tried with more work of the same kind."""


@dataclass(frozen=True)
class Effort:
    """seconds: for the turns of one pair of runners. matrix: the runner whose matrix product is the roofline."""

    seconds: float
    matrix: str
    say: Callable[[str], None]


def compare(
    part: str, workload: Workload, runners: Sequence[str], effort: Effort, axis: float | None = None
) -> list[Row]:
    """A row of the first runner, which is ours, and of each other one, alternating with it.

    What cannot run is a row that says why.
    """
    ours = runners[0]
    blank = Row(part, "", workload.label, axis, ours, threads=workload.threads, points=workload.points)
    rows = []
    effort.say(f"{workload.label}: {RUNNERS[ours].title}")
    try:
        with Worker(ours, workload) as mine:
            rows = list(_beside(mine, blank, runners, effort))
    except RunnerError as error:
        reasons = dict.fromkeys(runners, "ours did not run") | {ours: str(error)}
        rows = [replace(blank, runner=name, reason=reason) for name, reason in reasons.items()]
    return rows


def _beside(mine: Worker, blank: Row, runners: Sequence[str], effort: Effort) -> Iterator[Row]:
    workload, flops = mine.workload, countable_flops(mine.workload)
    turns, share = _share(mine, flops, effort)
    others = []
    for name in runners[1:]:
        effort.say(f"  beside {RUNNERS[name].title}")
        try:
            with Worker(name, workload) as theirs:
                my_turns, their_turns = alternate(mine, theirs, effort.seconds)
                counted = flops if RUNNERS[name].same else None
                row = _measured(replace(blank, runner=name), workload, their_turns, theirs, counted)
                row = replace(row, pixels=_difference(mine, theirs) if RUNNERS[name].same else None)
        except RunnerError as error:
            others.append(replace(blank, runner=name, reason=str(error)))
            continue
        turns += my_turns
        ratio = _ratio(my_turns, their_turns, workload.threads)
        others.append(replace(row, ratio=ratio.median, low=ratio.low, high=ratio.high, pairs=ratio.pairs))
    turns = turns or alone(mine, effort.seconds)
    row = _measured(replace(blank, runner=runners[0]), workload, turns, mine, flops)
    if workload.clip and row.gigaflops:
        share = _share_of_clip(row.gigaflops, workload, effort)
    yield replace(row, ratio=1.0, share=share)
    for row in others:
        yield replace(row, share=share / row.ratio if share and row.ratio and row.gigaflops else None)


def _share(mine: Worker, flops: float | None, effort: Effort) -> tuple[list[Turn], float | None]:
    """Our turns beside those of the matrix product, and what share of its rate we reach."""
    if not flops or mine.workload.clip:
        return [], None
    try:
        with Worker(effort.matrix, mine.workload) as matrix:
            my_turns, their_turns = alternate(mine, matrix, effort.seconds)
    except RunnerError:
        return [], None
    ratio = _ratio(my_turns, their_turns, mine.workload.threads)
    return my_turns, flops / MATRIX_FLOPS * ratio.median


def _share_of_clip(gigaflops: float, workload: Workload, effort: Effort) -> float | None:
    """The same, where one turn takes too long to be taken again: by products right after it."""
    try:
        with Worker(effort.matrix, replace(workload, clip=None)) as matrix:
            seconds = statistics.median(turn.seconds(workload.threads) for turn in alone(matrix, 1.0))
    except RunnerError:
        return None
    return gigaflops * 1e9 / (MATRIX_FLOPS / seconds)


def _measured(row: Row, workload: Workload, turns: Sequence[Turn], worker: Worker, flops: float | None) -> Row:
    seconds = statistics.median(turn.seconds(workload.threads) for turn in turns) / (workload.clip or 1)
    return replace(
        row,
        milliseconds=1000 * seconds,
        gigaflops=flops / seconds / 1e9 if flops else None,
        peak_megabytes=worker.peak_megabytes(),
        pairs=len(turns),
    )


def _ratio(ours: Sequence[Turn], theirs: Sequence[Turn], threads: int) -> Ratio:
    return paired_ratio([turn.seconds(threads) for turn in ours], [turn.seconds(threads) for turn in theirs])


def _difference(mine: Worker, theirs: Worker) -> float | None:
    """The largest one of positions, in pixels."""
    if mine.positions is None or theirs.positions is None:
        return None
    return float(np.abs(np.subtract(mine.positions, theirs.positions)).max(initial=0.0))


def countable_flops(workload: Workload) -> float | None:
    """Of a frame, where they can be counted: a TAPIR, with PyTorch at hand."""
    if not workload.model.startswith("tapir/"):
        return None
    try:
        from benchmarks.flops import frame_flops
    except ImportError:
        return None
    config = config_of(workload.model)
    side = (workload.resolution,) * 2 if workload.resolution else config.resolution
    size = working_size(workload.size, side, config.size_multiple) if config.size_multiple else side
    return float(sum(frame_flops(workload.model, size, workload.points).values()))


def curve(
    part: str, workloads: Mapping[float, Workload], runners: Sequence[str], effort: Effort
) -> Iterator[list[Row]]:
    """The rows of each workload, by its place on the axis, from little to much. Who got tired is not tried again."""
    tired: dict[str, str] = {}
    for axis, workload in workloads.items():
        fresh = [] if runners[0] in tired else [name for name in runners if name not in tired]
        rows = compare(part, workload, fresh, effort, axis) if fresh else []
        blank = Row(part, "", workload.label, axis, runners[0], threads=workload.threads, points=workload.points)
        left_out = {name: tired.get(name, "ours was not tried") for name in runners if name not in fresh}
        yield rows + [replace(blank, runner=name, reason=reason) for name, reason in left_out.items()]
        for row in rows:
            seconds = (row.milliseconds or 0) / 1000
            if seconds > TIRED:
                tired[row.runner] = f"not tried: {seconds:.0f} s a frame with {row.key}"
            elif row.reason:
                tired[row.runner] = row.reason


def scaling(part: str, workload: Workload, runner: str, effort: Effort) -> Row:
    """How many times faster a runner is with two threads than with one, on the wall."""
    row = Row(part, runner, replace(workload, threads=2).label, beside=runner, threads=2, points=workload.points)
    effort.say(f"{RUNNERS[runner].title} with one thread and with two, {workload.points} points")
    try:
        with Worker(runner, replace(workload, threads=2)) as two, Worker(runner, workload) as one:
            quick, slow = alternate(two, one, effort.seconds)
    except RunnerError as error:
        return replace(row, reason=str(error))
    ratio = paired_ratio([turn.wall for turn in quick], [turn.wall for turn in slow])
    milliseconds = 1000 * statistics.median(turn.wall for turn in quick)
    return replace(
        row, milliseconds=milliseconds, ratio=ratio.median, low=ratio.low, high=ratio.high, pairs=ratio.pairs
    )
