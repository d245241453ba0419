"""Where each TAPIR parameter lies in DeepMind's files: one table for the PyTorch and the Haiku layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from training.models.layers.efficientnet import encoder_parameters
from training.models.tapir.config import TapirConfig

Layout = Callable[[np.ndarray], np.ndarray]


def _same(w: np.ndarray) -> np.ndarray:
    return w


def _conv(w: np.ndarray) -> np.ndarray:
    """Haiku [kh, kw, in, out] -> [out, in, kh, kw]."""
    return w.transpose(3, 2, 0, 1)


def _linear(w: np.ndarray) -> np.ndarray:
    return w.T


def _depthwise(w: np.ndarray) -> np.ndarray:
    """Haiku [taps, 1, channels] -> [channels, taps]."""
    return w[:, 0].T


def _taps(w: np.ndarray) -> np.ndarray:
    """PyTorch [channels, 1, taps] -> [channels, taps]."""
    return w[:, 0]


def official_names(config: TapirConfig) -> Iterator[tuple[str, str, Layout, str, Layout]]:
    """Rows (our name, name in the .pt, its layout, "module/param" in the .npy, its layout) of every parameter."""

    def both(ours: str, torch: str, haiku: str, kind: str) -> Iterator[tuple[str, str, Layout, str, Layout]]:
        """A convolution or linear layer with a bias."""
        to_torch = {"conv": _conv, "linear": _linear}[kind]
        yield f"{ours}.weight", f"{torch}.weight", _same, f"{haiku}/w", to_torch
        yield f"{ours}.bias", f"{torch}.bias", _same, f"{haiku}/b", _same

    if config.encoder == "residual":
        yield from _resnet_names(config)
    else:  # no published file holds it, so it has no names but ours
        names = (f"lite.{name}" for name in encoder_parameters())
        yield from ((name, name, _same, name, _same) for name in names)
    for i in range(config.extra_convs):
        torch, suffix = f"extra_convs.blocks.{i}", lambda n: f"_{n}" if n else ""
        haiku = "tapir/~/extra_convs"
        norm = f"{haiku}/layer_norm{suffix(i)}"
        yield f"extra_convs.{i}.norm.weight", f"{torch}.layer_norm.weight", _same, f"{norm}/scale", _same
        yield f"extra_convs.{i}.norm.bias", f"{torch}.layer_norm.bias", _same, f"{norm}/offset", _same
        yield from both(f"extra_convs.{i}.conv_0", f"{torch}.conv", f"{haiku}/conv2_d{suffix(2 * i)}", "conv")
        yield from both(f"extra_convs.{i}.conv_1", f"{torch}.conv_1", f"{haiku}/conv2_d{suffix(2 * i + 1)}", "conv")
    for ours, torch, haiku, kind in (
        ("shared", "hid1", "cost_volume_regression_1", "conv"),
        ("heatmap", "hid2", "cost_volume_regression_2", "conv"),
        ("occlusion_conv", "hid3", "cost_volume_occlusion_1", "conv"),
        ("occlusion_hidden", "hid4", "cost_volume_occlusion_2", "linear"),
        ("occlusion_out", "occ_out", "occlusion_out", "linear"),
    ):
        yield from both(f"head.{ours}", f"torch_cost_volume_track_mods.{torch}", f"tapir/~/{haiku}", kind)
    torch, haiku = "torch_pips_mixer", "tapir/~/pips_mlp_mixer"
    yield from both("mixer.embed", f"{torch}.linear", f"{haiku}/linear", "linear")
    yield "mixer.norm.weight", f"{torch}.layer_norm.weight", _same, f"{haiku}/layer_norm/scale", _same
    yield from both("mixer.out", f"{torch}.linear_1", f"{haiku}/linear_1", "linear")
    for i in range(config.mixer_blocks):
        ours, theirs = f"mixer.blocks.{i}", f"{torch}.blocks.{i}"
        block = f"{haiku}/block_{i}" if i else f"{haiku}/block"
        for norm, name in (("norm_time", "layer_norm"), ("norm_channels", "layer_norm_1")):
            yield f"{ours}.{norm}.weight", f"{theirs}.{name}.weight", _same, f"{block}/{name}/scale", _same
        for conv, name in (("up", "mlp1_up"), ("out", "mlp1_up_1")):
            yield f"{ours}.time.{conv}_weight", f"{theirs}.{name}.weight", _taps, f"{block}/{name}/w", _depthwise
            yield f"{ours}.time.{conv}_bias", f"{theirs}.{name}.bias", _same, f"{block}/{name}/b", _same
        for linear, name in (("channels_up", "mlp2_up"), ("channels_down", "mlp2_down")):
            torch_name = f"{theirs}.conv_channels_mixer.{name}"
            yield from both(f"{ours}.{linear}", torch_name, f"{block}/{name}", "linear")


def _resnet_names(config: TapirConfig) -> Iterator[tuple[str, str, Layout, str, Layout]]:
    torch, haiku = "resnet_torch", "tapir/~/resnet/~"
    yield "resnet.stem.weight", f"{torch}.initial_conv.weight", _same, f"{haiku}/initial_conv/w", _conv
    for g, blocks in enumerate(config.blocks):
        for b in range(blocks):
            ours, theirs = f"resnet.groups.{g}.{b}", f"{torch}.block_groups.{g}.blocks.{b}"
            block = f"{haiku}/block_group_{g}/~/block_{b}/~"
            convs = [("conv_0", "conv_0", "conv_0"), ("conv_1", "conv_1", "conv_1")]
            if b == 0:
                convs.append(("projection", "proj_conv", "shortcut_conv"))
            for conv, torch_name, haiku_name in convs:
                yield f"{ours}.{conv}.weight", f"{theirs}.{torch_name}.weight", _same, f"{block}/{haiku_name}/w", _conv
            for i in range(2):
                norm, haiku_norm = f"{theirs}.bn_{i}", f"{block}/instancenorm_{i}"
                yield f"{ours}.norm_{i}.weight", f"{norm}.weight", _same, f"{haiku_norm}/scale", _same
                yield f"{ours}.norm_{i}.bias", f"{norm}.bias", _same, f"{haiku_norm}/offset", _same
