"""`tapsdk models`: every model by name, and how it comes to be at hand."""

from __future__ import annotations

from typing import Any

from tapsdk.artifact import bundled_models, open_artifact
from tapsdk.artifact.registry import ALIASES, ENLARGED, OFFICIAL
from tapsdk.errors import TapsdkError


def describe() -> list[dict[str, Any]]:
    """A row a model: name, aliases, title, licence; ready, whether it can be tracked with now; next, what to do."""
    aliases: dict[str, list[str]] = {}
    for alias, name in ALIASES.items():
        aliases.setdefault(name, []).append(alias)
    bundled = [_row(name, _own_title(name), "Apache-2.0", True, "") for name in bundled_models()]
    published = [_published(name) for name in OFFICIAL]
    return [{**row, "aliases": aliases.get(row["name"], [])} for row in [*bundled, *published]]


def _own_title(name: str) -> str:
    if name not in ENLARGED:
        return "ours, bundled"
    larger = ENLARGED[name]
    height, width = larger.size
    return f"ours, bundled: {larger.base} on frames of the area of {width}x{height}"


def _published(name: str) -> dict[str, Any]:
    official = OFFICIAL[name]
    title = f"{official.title} by Google DeepMind"
    if official.use:
        return _row(name, title, official.licence, False, official.use)
    try:
        open_artifact(name)
    except TapsdkError:
        return _row(name, title, official.licence, False, f"tapsdk get {name}")
    return _row(name, title, official.licence, True, "")


def _row(name: str, title: str, licence: str, ready: bool, then: str) -> dict[str, Any]:
    return {"name": name, "title": title, "licence": licence, "ready": ready, "next": then}


def render(rows: list[dict[str, Any]]) -> str:
    """A line a model, for people."""
    lines = []
    for row in rows:
        called = "".join(f", also called {alias}" for alias in row["aliases"])
        then = "ready" if row["ready"] else row["next"]
        lines.append(f"{row['name']:20s} {row['title']}{called}, {row['licence']}; {then}")
    return "\n".join(lines)
