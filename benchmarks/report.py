"""From a run to a page: tables between marks, and drawings beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.parts import PARTS
from benchmarks.rows import REST, Row, Run
from benchmarks.runners import RUNNERS
from tapsdk.commands.table import number
from tapsdk.system.files import AtomicFile
from training.evaluation.plot import COLOURS, Axis, Plot

COMPARED = ("tiny", "boots", "clip")
CURVES = {"points": "points", "frames": "frames of the video", "resolution": "side of the square, pixels"}
"""Parts that are drawn, and what their axis is."""
QUANTITIES: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "time": ("milliseconds per frame", lambda row: row.milliseconds),
    "memory": ("peak memory, MB", lambda row: row.peak_megabytes),
}
MOST_TICKS = 7
TICKS = tuple(step * 10**decade for decade in range(6) for step in (1, 2, 5))


def write_report(run: Run, page: Path) -> list[Path]:
    """Writes the page anew, with its drawings; what stands outside of the marks stays. Returns what was written."""
    text = page.read_text(encoding="utf-8") if page.exists() else blank_page()
    drawings = {page.with_name(f"{page.stem}-{name}.svg"): drawing for name, drawing in figures(run).items()}
    page.parent.mkdir(parents=True, exist_ok=True)
    for path, content in {**drawings, page: render(text, run, page.stem)}.items():
        with AtomicFile(path) as file:
            file.write(content.encode())
    return [page, *drawings]


def blank_page() -> str:
    """A page with nothing but marks."""
    names = ["machine", *PARTS]
    return "# Performance\n\n" + "\n".join(f"## {name}\n\n<!-- table: {name} -->\n<!-- end -->\n" for name in names)


def render(text: str, run: Run, stem: str = "performance") -> str:
    """The text with everything between <!-- table: NAME --> and <!-- end --> as the run has it.

    NAME is `machine` or a part; of a mark with another name nothing is changed.
    """

    def fresh(match: re.Match[str]) -> str:
        name = match[2]
        if name != "machine" and name not in PARTS:
            return match[0]
        return "\n".join([match[1], "", *block(name, run, stem), "", match[3]])

    return re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", fresh, text, flags=re.DOTALL)


def block(name: str, run: Run, stem: str = "performance") -> list[str]:
    """The lines of one mark."""
    if name == "machine":
        return [machine(run)]
    rows = run.of(name)
    if not rows:
        return [f"Not measured: `python -m benchmarks --only {name}`."]
    lines = table_of(name, rows)
    for part, quantity in (key.split("-") for key in figures(run)):
        if part == name:
            title = f"{QUANTITIES[quantity][0]} over {CURVES[name]}"
            lines += ["", f"![{title}]({stem}-{part}-{quantity}.svg)"]
    return lines


def machine(run: Run) -> str:
    """What it was measured on, in sentences."""
    about = run.machine
    others = [name for name in about["available_isas"] if name != about["isa"]]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    load = [value for value in run.load.values() if value is not None]
    busy = (
        f" While parts began, {min(load):.1f} to {max(load):.1f} processes wanted to run, ours among them."
        if load
        else ""
    )
    return (
        f"{about['processor']}, {about['cores']} cores, kernels with {about['isa']} "
        f"(also there: {', '.join(others) or 'none'}); Python {about['python']}, {versions}.{busy}"
    )


def table_of(part: str, rows: Sequence[Row]) -> list[str]:
    """A part's rows in Markdown."""
    if part == "stages":
        return _stages_table(rows)
    return _table(COLUMNS.get(part, CURVE_COLUMNS), rows)


def _stages_table(rows: Sequence[Row]) -> list[str]:
    names = sorted(dict.fromkeys(name for row in rows for name in row.stages), key=lambda name: name == REST)
    cells = [
        (row.key, row.runner, number(row.milliseconds, ".1f"), *(number(row.stages.get(name), ".1f") for name in names))
        if not row.reason
        else (row.key, row.runner, row.reason, *("" for _ in names))
        for row in rows
    ]
    return _markdown(("work", "plan", "ms per frame", *names), cells)


Column = Callable[[Row], str]
WORK: tuple[str, Column] = ("work", lambda row: row.key)
WHO: tuple[str, Column] = ("who", lambda row: RUNNERS[row.runner].title if row.runner in RUNNERS else row.runner)
TIME: tuple[str, Column] = ("ms per frame", lambda row: _three_digits(row.milliseconds))
RATE: tuple[str, Column] = ("GFLOP/s", lambda row: number(row.gigaflops, ".0f"))
SHARE: tuple[str, Column] = ("of the matrix product", lambda row: f"{row.share:.0%}" if row.share else "-")
MEMORY: tuple[str, Column] = ("peak MB", lambda row: number(row.peak_megabytes, ".0f"))
PIXELS: tuple[str, Column] = ("px off ours", lambda row: number(row.pixels, ".2g"))


def _three_digits(value: float | None) -> str:
    return number(value, ".0f" if value and value >= 100 else ".3g")


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "-"
    several = row.pairs > 1 and row.low is not None and row.high is not None
    spread = f" ({row.low:.2f} to {row.high:.2f})" if several else ""
    return f"{row.ratio:.2f}{spread}"


TIMES: tuple[str, Column] = ("times ours", _ratio)
CURVE_COLUMNS = (WORK, WHO, TIME, TIMES, RATE, SHARE, MEMORY)
COLUMNS: Mapping[str, tuple[tuple[str, Column], ...]] = {
    "roofline": (WHO, WORK, ("ms", TIME[1]), RATE),
    "kernels": (WHO, WORK, ("ms", TIME[1]), ("PyTorch takes, times", _ratio)),
    "start": (WORK, ("ms", TIME[1])),
    "threads": (WORK, WHO, TIME, ("times faster than with one", _ratio)),
    **dict.fromkeys(COMPARED, (WORK, WHO, TIME, TIMES, RATE, SHARE, MEMORY, PIXELS)),
}


def _table(columns: Sequence[tuple[str, Column]], rows: Sequence[Row]) -> list[str]:
    heads = tuple(head for head, _ in columns)
    cells = []
    for row in rows:
        filled = [column(row) for _, column in columns]
        if row.reason:
            place = next(i for i, head in enumerate(heads) if head.startswith("ms"))
            filled[place] = row.reason.replace("|", "/")
        cells.append(tuple(filled))
    return _markdown(heads, cells)


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]


def figures(run: Run) -> dict[str, str]:
    """Drawings by "part-quantity", of curves with more than one place on the axis."""
    found = {}
    for part, label in CURVES.items():
        for quantity, (title, value) in QUANTITIES.items():
            lines = _lines(run.of(part), value)
            if any(len(points) > 1 for points in lines.values()):
                found[f"{part}-{quantity}"] = _drawing(label, title, lines)
    return found


def _lines(rows: Sequence[Row], value: Callable[[Row], float | None]) -> dict[str, list[tuple[float, float]]]:
    """Points of a curve by who it is of."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        y = value(row)
        if row.axis and y:
            name = RUNNERS[row.runner].title.replace("`", "") + (f", {row.threads} threads" if row.threads > 1 else "")
            lines.setdefault(name, []).append((row.axis, y))
    return {name: sorted(points) for name, points in lines.items()}


def _drawing(label: str, title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    every = [point for points in lines.values() for point in points]
    xs = sorted({x for x, _ in every})
    low, high = min(y for _, y in every) / 1.5, max(y for _, y in every) * 3  # so that names have room above the lines
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) > MOST_TICKS:
        ticks = [tick for tick in ticks if f"{tick}".startswith("1")]
    y_axis = Axis(title, low, high, ticks, log=True)
    plot = Plot(Axis(label, xs[0], xs[-1] if len(xs) > 1 else xs[0] * 2, xs, log=True), y_axis, width=440)
    for (name, points), colour in zip(lines.items(), COLOURS[1:], strict=False):
        plot.line(points, colour)
        for point in points:
            plot.dot(point, 4, colour)
        plot.name(name, colour)
    return plot.render()
