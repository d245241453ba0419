"""Every error that tapsdk raises on purpose; catch `TapsdkError` for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks


class TapsdkError(Exception):
    """Base of all errors of tapsdk.

    tracks: what was tracked before `tapsdk.track` came to its end early; None where that is not even a frame.
    """

    tracks: Tracks | None = None


class PointsError(TapsdkError, ValueError):
    """Query points of a wrong shape or type, or outside the video."""


class FramesError(TapsdkError, ValueError):
    """Frames of a wrong shape or type, or a video that cannot be read."""


class TracksError(TapsdkError, ValueError):
    """Tracks whose arrays do not fit together, or a tracks file that cannot be read."""


class JobsError(TapsdkError, ValueError):
    """A list or a table of videos that cannot be read, or that asks for what cannot be."""


class DepthError(TapsdkError, ValueError):
    """Depth maps, intrinsics or poses that do not fit to the tracks, that cannot be, or that cannot be read."""


class ModelError(TapsdkError):
    """A model or variant that does not exist or is not at hand."""


class FetchError(TapsdkError):
    """An official file that could not be fetched, or that is not the one that was fetched before."""


class ArtifactError(TapsdkError):
    """An artifact directory with a missing file, a wrong checksum, an unknown schema, or more than may be opened."""


class BackendError(TapsdkError):
    """A backend that does not exist or does not work on this machine."""


class SaveError(TapsdkError):
    """A result that could not be written."""


class ResumeError(TapsdkError):
    """What an earlier run left to go on from is of another video, of other options, or cannot be read."""


class StorageError(TapsdkError):
    """A URL of which nobody can say whether anything is there: no package for it, no permission, no connection."""
