"""Whether what TRAJAN is given has shapes that it can take, for both frameworks."""

from __future__ import annotations

from collections.abc import Sequence

from tapsdk.errors import TracksError
from training.models.trajan.config import TrajanConfig

Shape = Sequence[int]


def check_tracks(config: TrajanConfig, tracks: Shape, visible: Shape, frames: Shape) -> None:
    """Of the arguments of `encode`. Raises TracksError."""
    if len(tracks) != 4 or tracks[-1] != 2:
        raise TracksError(f"tracks must be [B, S, T, 2], got {list(tracks)}")
    if tuple(visible) != tuple(tracks[:3]):
        raise TracksError(f"visible must be [B, S, T] as the tracks are, {list(tracks[:3])}, got {list(visible)}")
    if tuple(frames) != (tracks[0],):
        raise TracksError(f"frames must be [B], a number for each of {tracks[0]} videos, got {list(frames)}")
    if not tracks[1]:
        raise TracksError("there are no tracks to encode; give at least one")
    if not 1 <= tracks[2] <= config.frames:
        raise TracksError(f"tracks may have 1 to {config.frames} frames, got {tracks[2]}; cut longer ones")


def check_queries(config: TrajanConfig, latents: Shape, queries: Shape) -> None:
    """Of the arguments of `decode`. Raises TracksError."""
    wanted = (config.latents, config.channels)
    if len(latents) != 3 or tuple(latents[1:]) != wanted:
        raise TracksError(f"latents must be [B, {wanted[0]}, {wanted[1]}], got {list(latents)}")
    if len(queries) != 3 or queries[0] != latents[0] or queries[2] != 3:
        raise TracksError(f"queries_txy must be [B, Q, 3] with B = {latents[0]} as the latents, got {list(queries)}")
