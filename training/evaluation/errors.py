"""The error of what compares trackers: tables, plots, pages."""

from __future__ import annotations

from tapsdk.errors import TapsdkError


class EvaluationError(TapsdkError, ValueError):
    """What was asked for cannot be scored, drawn or compared, or not with what is installed."""
