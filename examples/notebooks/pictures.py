"""Frames as pictures in a notebook: `show` lays them side by side, `clicks` lets you point at places in one."""

from __future__ import annotations

import base64
import io

import numpy as np
from IPython.display import HTML, Image, display
from numpy.typing import NDArray
from PIL import Image as Pictures

Frame = NDArray[np.uint8]

WIDTH = 1200
QUALITY = 75
GAP = 4

PAGE = """
<img src="data:image/jpeg;base64,{data}" style="cursor: crosshair; max-width: none"
 onclick="const t = this.nextElementSibling, x = event.offsetX + 0.5, y = event.offsetY + 0.5;
  t.value = t.value.replace(/]$/, (t.value.length > 2 ? ', ' : '') + `[{t}, ${{x}}, ${{y}}]]`)">
<textarea readonly rows="3" style="display: block; width: {width}px">[]</textarea>
"""


def show(*frames: Frame, columns: int = 3, width: int = WIDTH) -> None:
    """Frames [H, W, 3] uint8 of one size, in rows of `columns`, as one picture at most `width` pixels wide."""
    tall, wide = frames[0].shape[:2]
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    sheet = Pictures.new("RGB", (columns * (wide + GAP) - GAP, rows * (tall + GAP) - GAP), "white")
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        sheet.paste(Pictures.fromarray(frame), (column * (wide + GAP), row * (tall + GAP)))
    if sheet.width > width:
        sheet = sheet.resize((width, round(sheet.height * width / sheet.width)), Pictures.Resampling.LANCZOS)
    display(Image(_jpeg(sheet), format="jpeg"))


def enlarged(frame: Frame, factor: int) -> Frame:
    """A small frame with every pixel `factor` times as wide and high."""
    return frame.repeat(factor, 0).repeat(factor, 1)


def clicks(frame: Frame, t: int = 0) -> None:
    """A frame to click in. The points that you clicked, (t, x, y), appear below it, to be copied into a cell.

    It needs a notebook that runs in a browser, and no connection from there to Python.
    """
    data = base64.b64encode(_jpeg(Pictures.fromarray(frame))).decode()
    display(HTML(PAGE.format(data=data, t=t, width=frame.shape[1])))


def _jpeg(picture: Pictures.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
