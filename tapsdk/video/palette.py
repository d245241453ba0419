"""The 256 colours of a frame, for GIF."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

from tapsdk.geometry import Size

if TYPE_CHECKING:
    import av


class Palette:
    """Reduces frames of (height, width) `size` to 256 colours, chosen anew for each, by FFmpeg's filters.

    A palette of the whole video would need all of it in memory.
    """

    def __init__(self, size: Size, time_base: Fraction) -> None:
        from av import VideoFormat
        from av.filter import Graph

        self._graph = graph = Graph()
        self._source = graph.add_buffer(width=size[1], height=size[0], format=VideoFormat("rgb24"), time_base=time_base)
        split, colors = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        use, self._sink = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), graph.add("buffersink")
        self._source.link_to(split)
        split.link_to(colors, 0, 0)
        split.link_to(use, 1, 0)
        colors.link_to(use, 0, 1)
        use.link_to(self._sink)
        graph.configure()
        self._count = 0

    def reduce(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The same as pal8; without its time."""
        picture.pts = self._count  # the filters want it to grow
        self._count += 1
        self._source.push(picture)
        return cast("av.VideoFrame", self._sink.pull())
