"""Where each number of TAP-Net lies in DeepMind's file, which is Haiku's: its code was never ported to PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from training.models.family import STATE
from training.models.tapnet.config import TapnetConfig

Layout = Callable[[np.ndarray], np.ndarray]
Row = tuple[str, str, Layout, str, Layout]


def _same(w: np.ndarray) -> np.ndarray:
    return w


def _conv(w: np.ndarray) -> np.ndarray:
    """Haiku [kh, kw, in, out], or [1, kh, kw, in, out] of a video, -> [out, in, kh, kw]."""
    return w.reshape(w.shape[-4:]).transpose(3, 2, 0, 1)


def _linear(w: np.ndarray) -> np.ndarray:
    return w.T


def _channels(w: np.ndarray) -> np.ndarray:
    """[1, 1, 1, C] -> [C]"""
    return w.reshape(w.shape[-1:])


def official_names(config: TapnetConfig) -> Iterator[Row]:
    """Rows (our name, the same, "module/param" in the .npy, its layout) of every parameter.

    No file in PyTorch's layout was published, so that such a file would have our names.
    """
    for ours, theirs, layout in _haiku_names(config):
        yield ours, ours, _same, theirs, layout


def _haiku_names(config: TapnetConfig) -> Iterator[tuple[str, str, Layout]]:
    backbone = "tap_net/~/tsm_resnet_video"
    yield "encoder.stem.weight", f"{backbone}/tsm_resnet_stem/w", _conv
    for u in range(len(config.channels)):
        for b in range(config.blocks):
            ours, theirs = f"encoder.units.{u}.{b}", f"{backbone}/tsm_resnet_unit_{u}/block_{b}"
            convs = [("conv_0", "conv_0"), ("conv_1", "conv_2")]
            if b == 0:
                convs.append(("projection", "shortcut_conv"))
            for conv, name in convs:
                yield f"{ours}.{conv}.weight", f"{theirs}/{name}/w", _conv
            yield from _norm(f"{ours}.norm_0", f"{theirs}/batch_norm")
            yield from _norm(f"{ours}.norm_1", f"{theirs}/batch_norm_1")
    for ours, name, layout in (
        ("shared", "cost_volume_regression_1", _conv),
        ("heatmap", "cost_volume_regression_2", _conv),
        ("occlusion_conv", "cost_volume_occlusion_1", _conv),
        ("occlusion_hidden", "cost_volume_occlusion_2", _linear),
        ("occlusion_out", "occlusion_out", _linear),
    ):
        yield f"head.{ours}.weight", f"tap_net/~/{name}/w", layout
        yield f"head.{ours}.bias", f"tap_net/~/{name}/b", _same


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, str, Layout]]:
    yield f"{ours}.weight", f"{theirs}/scale", _channels
    yield f"{ours}.bias", f"{theirs}/offset", _channels
    yield f"{ours}.running_mean", f"{STATE}{theirs}/~/mean_ema/average", _channels
    yield f"{ours}.running_var", f"{STATE}{theirs}/~/var_ema/average", _channels
