"""Pages that need no network: one HTML file with a program and the data that it shows."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from tapsdk.system.json_text import as_json

TITLE, DATA = "TITLE", "DATA"
"""Stand in a page for what is put in; the data once."""


def filled(page: Path, data: Any, title: str = "") -> bytes:
    """The page with data, as JSON, and a title in their places. No text in the data ends the element it stands in."""
    text = json.dumps(as_json(data), separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")
    before, after = page.read_text(encoding="utf-8").split(DATA)
    return (before.replace(TITLE, escape(title)) + text + after).encode()
