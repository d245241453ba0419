"""What cannot be exported to what, with the reason. Everything else can; the README's table is made from this."""

from __future__ import annotations

from fnmatch import fnmatchcase

OPEN_LENGTH = "it refines over whole clips; their length is open, and this format fixes shapes"

EXCEPTIONS = {
    ("tapir/base", "coreml"): OPEN_LENGTH,
    ("tapir/base", "tflite"): OPEN_LENGTH,
    ("tapir/boots", "coreml"): OPEN_LENGTH,
    ("tapir/boots", "tflite"): OPEN_LENGTH,
    ("trajan/*", "*"): "it takes tracks, not video: it scores them (`python -m training evaluate --metrics trajan`)",
}
"""(model, target) patterns, as in file names."""


def why_not(model: str, target: str) -> str | None:
    """The reason why a model cannot be exported to a target, None if it can."""
    for (models, targets), reason in EXCEPTIONS.items():
        if fnmatchcase(model, models) and fnmatchcase(target, targets):
            return reason
    return None
