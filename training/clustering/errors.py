"""The error of everything that groups tracks by motion."""

from __future__ import annotations

from tapsdk.errors import TapsdkError


class ClusterError(TapsdkError, ValueError):
    """Tracks that cannot be grouped, or numbers of groups that cannot be asked for."""
