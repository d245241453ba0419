"""Docstrings as the site shows them: parameters and results as lists, however briefly the source writes them."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"(?<=\S)\n(?=(?:Args|Returns|Raises):)")
RAISES = re.compile(r"^Raises:\n((?: +\S.*\n?)+)", re.M)
ENTRY = re.compile(r"^(?=[a-z_]+(?:, [a-z_]+)*: )", re.M)
"""Where a line says what a parameter or an attribute is: `xy: [N, T, 2] float32, pixels`."""


class Sections(griffe.Extension):
    """Parts sections from what is before them, and makes a list of what is said of parameters."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = SECTION.sub("\n\n", obj.docstring.value)
            text = RAISES.sub(lambda raises: f"**Raises:** {' '.join(raises[1].split())}\n", text)
            obj.docstring.value = "\n\n".join(map(_as_list, text.split("\n\n")))


def _as_list(paragraph: str) -> str:
    """A paragraph, with an entry a line where it has several lines that begin as entries do."""
    if not ENTRY.match(paragraph):
        return paragraph
    entries = [re.sub(r"\s*\n\s*", " ", entry).strip() for entry in ENTRY.split(paragraph) if entry]
    return "\n".join("- **{}**: {}".format(*entry.split(": ", 1)) for entry in entries)
