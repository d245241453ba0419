"""The error of everything that reads datasets."""

from __future__ import annotations

from tapsdk.errors import TapsdkError


class DatasetError(TapsdkError, ValueError):
    """A dataset that does not exist, is not at hand, or cannot be read."""
