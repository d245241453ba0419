"""Generated clips: textured layers that move, bend and hide one another, with exact tracks."""

from training.data.synthetic.clips import Clip, SceneConfig, make_clip

__all__ = ["Clip", "SceneConfig", "make_clip"]
