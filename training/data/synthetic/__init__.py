"""Generated clips: textured layers that move, bend and hide one another, with exact tracks."""

from training.data.synthetic.clips import held_out, make_clip, make_tracks
from training.data.synthetic.config import SceneConfig

__all__ = ["SceneConfig", "held_out", "make_clip", "make_tracks"]
