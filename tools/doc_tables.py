"""Writes the tables of models, of what can be exported, of what runs it and of formats into the documentation.

    python -m tools.doc_tables [--check]

A table stands between <!-- table: NAME --> and <!-- end -->, the milliseconds that a model takes for a frame between
<!-- ms: MODEL --> and <!-- end -->. With --check nothing is written, and the exit status
says whether the pages are up to date. Every target's packages must be installed: pip install ".[test]".
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from export.support import why_not
from export.targets import TARGETS, Target
from tapsdk.artifact import bundled_models
from tapsdk.artifact.registry import ALIASES, ENLARGED, OFFICIAL
from tapsdk.backends import BACKENDS
from tapsdk.backends.devices import DEVICES
from tapsdk.backends.providers import PROVIDERS
from tapsdk.interchange.formats import FORMATS
from tapsdk.selection.candidates import PLATFORMS
from training.models.registry import CONFIGS, parameter_shapes

ROOT = Path(__file__).parents[1]
PERFORMANCE = ROOT / "docs" / "performance.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def models_table() -> list[str]:
    """Every model: what it is, where its weights come from, and how long a frame takes."""
    names = dict.fromkeys([*CONFIGS, *OFFICIAL])
    return _table(
        ("name", "model", "parameters", "frame by frame", "weights", "published accuracy", "ms per frame"),
        ((_name(m), _title(m), _parameters(m), _causal(m), _weights(m), _accuracy(m), milliseconds(m)) for m in names),
    )


def support_table() -> list[str]:
    """Model by target: the precisions, or a number for the reason why not; then the backends that run it."""
    targets = {name: _target(name) for name in TARGETS}
    reasons = list(dict.fromkeys(filter(None, (why_not(m, t) for m in CONFIGS for t in targets))))

    def support(model: str, target: str) -> str:
        reason = why_not(model, target)
        return f"no ({1 + reasons.index(reason)})" if reason else ", ".join(targets[target].precisions)

    table = _table(
        ("`--target`", *(f"`{t}`" for t in targets)),
        [
            *((f"`{m}`", *(support(m, t) for t in targets)) for m in CONFIGS),
            ("number of points", *(_points(target) for target in targets.values())),
            ("run by", *(", ".join(f"`{b}`" for b in _runners(target)) for target in targets.values())),
        ],
    )
    return [*table, *(line for i, reason in enumerate(reasons, 1) for line in ("", f"({i}) {reason}"))]


def targets_table() -> list[str]:
    """What each target needs."""
    return _table(("target", "export needs"), ((f"`{name}`", _pip(extra)) for name, (_, extra) in TARGETS.items()))


def backends_table() -> list[str]:
    """Every backend: what it reads, where it exists, and what it comes with."""
    return _table(
        ("backend", "reads", "where", "comes with"),
        (
            (
                f"`{name}`",
                ", ".join(row.formats),
                ", ".join(PLATFORMS[platform] for platform in row.platforms) or "everywhere",
                f"`{row.install}`",
            )
            for name, row in BACKENDS.items()
        ),
    )


def devices_table() -> list[str]:
    """Every device of every backend: what it comes with and needs, and what was run of it."""
    rows = [("onnxruntime", word, row.package, row.needs, row.ran) for word, row in PROVIDERS.items()]
    for name, backend in BACKENDS.items():
        package = backend.engine.replace("_", "-")
        rows += [(name, word, package, row.needs, row.ran) for word, row in DEVICES.get(name, {}).items()]
    return _table(
        ("backend", "`device=`", "package", "needs", "what was run"),
        ((f"`{name}`", f"`{word}`", f"`{package}`", needs, ran) for name, word, package, needs, ran in rows),
    )


def formats_table() -> list[str]:
    """Every format of another program."""
    return _table(
        ("format", "suffix", "needs", "what it holds", "read by"),
        (
            (
                f"`{name}`",
                row.suffix + ("" if row.telling else " (named)"),
                ", ".join(row.needs),
                row.holds,
                row.read_by,
            )
            for name, row in FORMATS.items()
        ),
    )


TABLES: dict[str, Callable[[], list[str]]] = {
    "models": models_table,
    "support": support_table,
    "targets": targets_table,
    "backends": backends_table,
    "devices": devices_table,
    "formats": formats_table,
}


def render(text: str) -> str:
    """The text with every table as the code has it now, and every time as it was measured.

    Of a mark with another name nothing is changed.
    """

    def fresh(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            return match[0]
        return "\n".join([match[1], "", *TABLES[match[2]](), "", match[3]])

    text = re.sub(r"(<!-- ms: ([\w/-]+) -->).*?(<!-- end -->)", lambda m: f"{m[1]}{milliseconds(m[2])}{m[3]}", text)
    return re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", fresh, text, flags=re.DOTALL)


def milliseconds(model: str) -> str:
    """Per frame, one thread and 64 points, as docs/performance.md has it; a dash where that was not measured."""
    row = rf"^\| {re.escape(model)}, [\dx]+, 64 points, 1 thread \| tapsdk, \w+ plan \| ([\d.]+) \|"
    found = re.search(row, PERFORMANCE.read_text(encoding="utf-8"), re.MULTILINE)
    return f"{float(found[1]):.0f}" if found else "-"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows)]


def _name(model: str) -> str:
    short = "".join(f", `{alias}`" for alias, name in ALIASES.items() if name == model)
    return f"`{model}`{short}"


def _title(model: str) -> str:
    if model in OFFICIAL:
        return OFFICIAL[model].title
    at = f", at {ENLARGED[model].size[0]} px" if model in ENLARGED else ""
    return f"ours: a small Online TAPIR{at}"


def _parameters(model: str) -> str:
    if model not in CONFIGS:
        return ""
    return f"{sum(math.prod(shape) for shape in parameter_shapes(model).values()) / 1e6:.1f} M"


def _causal(model: str) -> str:
    if model not in CONFIGS:
        return "cannot run yet"
    if model in OFFICIAL and OFFICIAL[model].use:
        return "scores tracks"
    return "yes" if CONFIGS[model].causal else "no"


def _weights(model: str) -> str:
    return "bundled, Apache-2.0" if model in bundled_models() else f"official, {OFFICIAL[model].licence}"


def _accuracy(model: str) -> str:
    """The authors' own figure for this very file."""
    if model not in OFFICIAL:
        return "[measured](#how-good-the-bundled-ones-are)"
    for accuracy in OFFICIAL[model].accuracy:
        if accuracy.source == "repository":
            at = "" if accuracy.resolution == 256 else f" at {accuracy.resolution} px"
            return f"{accuracy.average_jaccard}{at}"
    return ""


def _target(name: str) -> Target:
    return importlib.import_module(TARGETS[name][0]).TARGET  # type: ignore[no-any-return]


def _points(target: Target) -> str:
    return f"up to {max(target.buckets)}, or as many as `--points` says" if target.buckets else "any"


def _runners(target: Target) -> list[str]:
    """The backends that run what a target makes."""
    return [name for name, row in BACKENDS.items() if target.format in row.formats]


def _pip(extra: str) -> str:
    return f'`pip install ".[{extra}]"`'


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.doc_tables", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    args = parser.parse_args()
    found = {page: page.read_text(encoding="utf-8") for page in PAGES}
    try:
        wanted = {page: render(text) for page, text in found.items()}
    except ImportError as error:
        print(f"needs the packages of every target: {error}", file=sys.stderr)
        return 2
    old = [page for page in PAGES if found[page] != wanted[page]]
    for page in old:
        print(f"{page.relative_to(ROOT)} {'is out of date' if args.check else 'was written anew'}")
        if not args.check:
            page.write_text(wanted[page], encoding="utf-8")
    return int(args.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
