"""The plain ONNX graphs of `benchmarks.plain_onnx` on an engine, with arrays in and out.

What is not in the graph is done as we do it, so that the same comes out: frames are resized by our kernel, and points
follow the picture where they do in the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import tapkernels
from benchmarks.models import PLAIN, plain_of
from benchmarks.runners import Turns
from benchmarks.workloads import Workload
from tapsdk.geometry import scale_points
from training.models.registry import config_of
from training.models.tapir.config import TapirConfig
from training.models.tapir.flow import fuse_estimate, texture_of

Floats: TypeAlias = NDArray[np.float32]
Graph: TypeAlias = Callable[[Mapping[str, Floats]], dict[str, Floats]]


def onnxruntime(workload: Workload) -> Turns:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = workload.threads

    def opened(name: str) -> Graph:
        session = ort.InferenceSession(plain_of(workload.model, name), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return _by_frame(workload, opened)


def openvino(workload: Workload) -> Turns:
    import openvino as ov

    core = ov.Core()
    settings = {
        "INFERENCE_NUM_THREADS": workload.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it, which is pixels off
    }

    def opened(name: str) -> Graph:
        compiled = core.compile_model(str(plain_of(workload.model, name)), "CPU", settings)
        names = [output.get_any_name() for output in compiled.outputs]
        request = compiled.create_infer_request()

        def run(inputs: Mapping[str, Floats]) -> dict[str, Floats]:
            request.infer(dict(inputs))
            return {name: np.array(request.get_tensor(name).data) for name in names}

        return run

    return _by_frame(workload, opened)


def _by_frame(workload: Workload, opened: Callable[[str], Graph]) -> Turns:
    config: TapirConfig = config_of(workload.model)
    size, space, video = PLAIN[workload.model], config.resolution, workload.video()
    step, init = opened("step"), opened("init")
    before = tapkernels.resize_normalize(video[0], *size)[None]
    xy = scale_points(workload.xy(), workload.size, space)
    kept: dict[str, Floats] = {"features": init({"frame": before, "xy": xy})["features"]}
    shape = (config.mixer_blocks, workload.points, 2, config.mixer_width)
    for i in range(config.iterations):
        kept[f"narrow_{i}"] = np.zeros(shape, np.float32)
        kept[f"wide_{i}"] = np.zeros((*shape[:-1], 4 * config.mixer_width), np.float32)
    start = np.zeros((1, workload.points), np.int64)
    texture = texture_of(config, before[None], start, xy[None]) if config.fusion else None
    yield None
    for image in itertools.cycle(video):
        frame = tapkernels.resize_normalize(image, *size)[None]
        previous = {"previous": xy} if config.motion_prior else {}
        found = step({"frame": frame, **previous, **kept})
        kept.update({name.removeprefix("next_"): value for name, value in found.items() if name.startswith("next_")})
        xy = found["xy"]
        if texture is not None:
            logits = {name: found[name][None] for name in ("occlusion", "expected_dist")}
            begins = np.zeros((1, workload.points), bool)
            was = previous["previous"][None]
            fused, _ = fuse_estimate(config, (before, frame), was, texture, xy[None], logits, begins)
            xy = fused[0]
        before = frame
        yield scale_points(xy, space, workload.size)
