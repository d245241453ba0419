"""Frames in and out: arrays, videos, folders of images, and tracks painted over them."""

from tapsdk.video.files import open_frames
from tapsdk.video.frames import Frame, FrameSource
from tapsdk.video.writer import VideoWriter

__all__ = ["Frame", "FrameSource", "VideoWriter", "open_frames"]
