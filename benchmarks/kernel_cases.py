"""What `kernels.py` times: a call of every op, and the same work in PyTorch and in the bundled model's stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tapsdk
from tapkernels import CostVolumeHead, MixerWeights
from tapkernels.mixer_weights import parameter_shapes

Call = Callable[[], object]

TINY = {"inputs": 327, "width": 128, "blocks": 5, "outputs": 180}
"""The mixer of tapir/tiny."""
FEATURES = slice(4, 180)
"""Where its features lie among its inputs: after two zeros and two logits, before patches of scores."""


@dataclass(frozen=True)
class Case:
    """One call of an op, and the same work in PyTorch: a function that prepares it and returns its call."""

    op: str
    what: str
    arguments: tuple[Any, ...]
    in_torch: Callable[[Any, Case], Call]
    in_onnxruntime: Callable[[Any, Case], Call | None] | None = None
    """The same of a session's options; None where the model's stage is not there."""
    products: int = 0
    """Multiplications of its matrix products."""


def grid_sample_then_dot(torch: Any, case: Case) -> Call:
    grid, query, xy = (torch.from_numpy(array) for array in case.arguments)
    height, width, _ = grid.shape
    channels_first = grid.permute(2, 0, 1)[None].contiguous()
    step = torch.arange(-3.0, 4.0)
    offset = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).reshape(1, 49, 2)
    scale = 2 / torch.tensor([width, height])

    def call() -> object:
        positions = (xy[:, None] + offset) * scale - 1
        samples = torch.nn.functional.grid_sample(channels_first, positions[None], align_corners=False)
        return torch.einsum("cns,nc->ns", samples[0], query)

    return call


def interpolate_then_normalize(torch: Any, case: Case) -> Call:
    image, height, width = case.arguments
    tensor = torch.from_numpy(image)

    def call() -> object:
        resized = torch.nn.functional.interpolate(
            tensor.permute(2, 0, 1)[None].float(), (height, width), mode="bilinear", antialias=True
        )
        return resized[0].permute(1, 2, 0).contiguous() / 127.5 - 1

    return call


def windows_of_a_pyramid(torch: Any, case: Case) -> Call:
    """There and back, as a user of grid_sample would: eight steps on each of four levels, all points at once."""
    before, after, xy = (torch.from_numpy(array) for array in case.arguments)
    step = torch.arange(-4.0, 5.0)
    offset = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).reshape(1, 81, 2)
    weights = torch.exp(-(offset**2).sum(-1) / 8)
    grey = torch.tensor([0.299, 0.587, 0.114])

    def pyramid(frame: Any) -> list[Any]:
        levels = [(frame @ grey)[None, None]]
        for _ in range(3):
            levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
        return levels

    def window(image: Any, at: Any) -> Any:
        size = torch.tensor([image.shape[3], image.shape[2]])
        positions = (at[:, None] + offset) * 2 / size - 1
        return torch.nn.functional.grid_sample(image, positions[None], padding_mode="border", align_corners=False)[0, 0]

    def follow(first: list[Any], second: list[Any], start: Any) -> Any:
        moved = torch.zeros_like(start)
        for level in (3, 2, 1, 0):
            at = start / 2**level
            wanted = window(first[level], at)
            along = [(window(first[level], at + d) - window(first[level], at - d)) / 2 for d in torch.eye(2)]
            xx, yy, xy = ((weights * a * b).sum(1) for a, b in ((along[0],) * 2, (along[1],) * 2, along))
            for _ in range(8):
                difference = weights * (wanted - window(second[level], at + moved / 2**level))
                x, y = ((difference * a).sum(1) for a in along)
                move = torch.stack([yy * x - xy * y, xx * y - xy * x], 1) / (xx * yy - xy * xy + 1e-6)[:, None]
                moved = moved + move * 2**level
        return start + moved

    def call() -> object:
        first, second = pyramid(before), pyramid(after)
        end = follow(first, second, xy)
        return end, follow(second, first, end)

    return call


def convolved_scores(torch: Any, case: Case) -> Call:
    from tapkernels import torch_operators

    grid, features, previous, head = case.arguments
    tensors = [torch.from_numpy(array) for array in (grid, features, previous)]
    weights = [torch.from_numpy(array) for array in head.arrays()[:-1]]
    return lambda: torch_operators.cost_volume_track(*tensors, weights, head.temperature, head.motion_prior)


def stage(options: Any, name: str) -> Any | None:
    """A session of one of the bundled model's."""
    import onnxruntime

    path = Path(tapsdk.__file__).parent / f"models/tapir/tiny/{name}.onnx"
    return onnxruntime.InferenceSession(path, options) if path.exists() else None


def stage_locate(options: Any, case: Case) -> Call | None:
    session = stage(options, "locate")
    if session is None:
        return None
    grid, features, previous, _ = case.arguments
    widened = np.concatenate([np.zeros((len(features), 48), np.float32), features], axis=1)
    inputs = {"low": grid[None], "features": widened, "previous": previous}
    return lambda: session.run(None, inputs)


def grid_sample(torch: Any, case: Case) -> Call:
    grid, xy = (torch.from_numpy(array) for array in case.arguments)
    channels_first = grid.permute(2, 0, 1)[None].contiguous()
    places = (xy * (2 / torch.tensor([grid.shape[1], grid.shape[0]])) - 1)[None, None]

    def call() -> object:
        sampled = torch.nn.functional.grid_sample(channels_first, places, padding_mode="border", align_corners=False)
        return sampled[0, :, 0].T.contiguous()

    return call


def make_head(rng: np.random.Generator) -> CostVolumeHead:
    """As wide as the bundled model's."""

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    layers = [(16, 1, 3, 3), (16,), (1, 16, 3, 3), (16, 16, 3, 3), (16,), (16, 16), (16,), (2, 16), (2,)]
    return CostVolumeHead(*(normal(*shape) for shape in layers), temperature=20.0, motion_prior=3.0)


def mixer_module(torch: Any, case: Case) -> Call:
    from training.models.registry import CONFIGS
    from training.models.tapir.torch import Mixer, MixerState

    module = Mixer(CONFIGS["tapir/tiny"]).eval()
    x, *memory = (torch.from_numpy(array) for array in case.arguments[:3])

    def call() -> object:
        with torch.inference_mode():
            return module(x[:, None], MixerState(*memory))

    return call


def stage_mixer(options: Any, case: Case) -> Call | None:
    """With tensors that are bound once, as the runtime has them."""
    import onnxruntime

    session = stage(options, "mixer")
    if session is None:
        return None
    x, narrow, wide, _ = case.arguments
    inputs = {
        "occlusion": x[:, 2],
        "expected_dist": x[:, 3],
        "features": x[:, FEATURES],
        "patches": x[:, FEATURES.stop :],
        "narrow": narrow,
        "wide": wide,
    }
    binding = session.io_binding()
    for name, array in inputs.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def mixer_case(rng: np.random.Generator, points: int) -> Case:
    def values(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    shapes = parameter_shapes(**TINY)
    weights = MixerWeights.pack({name: values(*shape) * np.float32(0.1) for name, shape in shapes.items()})
    blocks, width = TINY["blocks"], TINY["width"]
    arguments = (values(points, TINY["inputs"]), values(blocks, points, 2, width), values(blocks, points, 2, 4 * width))
    products = points * (width * (TINY["inputs"] + TINY["outputs"]) + blocks * 8 * width**2)
    return Case("mixer", f"tapir/tiny, {points} points", (*arguments, weights), mixer_module, stage_mixer, products)


def make_cases() -> list[Case]:
    rng = np.random.default_rng(0)

    def features(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def points(count: int, size: int) -> np.ndarray:
        return rng.uniform(0, size, size=(count, 2)).astype(np.float32)

    def frame(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)

    return [
        *(
            Case(
                "cost_volume_track",
                f"24x42x128, {count} points",
                (features(24, 42, 128) / 11, features(count, 128) / 11, points(count, 24), make_head(rng)),
                convolved_scores,
                stage_locate,
            )
            for count in (64, 1024)
        ),
        *(
            Case(
                "local_correlation",
                f"{size}x{size}x{channels}, {count} points",
                (features(size, size, channels), features(count, channels), points(count, size)),
                grid_sample_then_dot,
            )
            for size, channels in ((64, 128), (32, 256))
            for count in (64, 256, 1024)
        ),
        Case(
            "lucas_kanade",
            "192x336, 64 points",
            (features(192, 336, 3), features(192, 336, 3), points(64, 190)),
            windows_of_a_pyramid,
        ),
        Case(
            "resize_normalize",
            "1280x720 to 256x256",
            (frame(720, 1280), 256, 256),
            interpolate_then_normalize,
        ),
        Case("resize_normalize", "128x128 to 256x256", (frame(128, 128), 256, 256), interpolate_then_normalize),
        *(mixer_case(rng, count) for count in (1, 16, 64, 256, 1024)),
        Case("sample_features", "64x64x128, 1024 points", (features(64, 64, 128), points(1024, 64)), grid_sample),
    ]
