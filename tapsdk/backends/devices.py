"""What is known of the devices of engines that find theirs themselves, before any of them is imported.

Those of ONNX Runtime are `tapsdk.backends.providers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNSEEN = "never on such a device"


@dataclass(frozen=True)
class DeviceInfo:
    """needs: what must be there. ran: what was run of it, and what was not."""

    needs: str
    ran: str


DEVICES: Mapping[str, Mapping[str, DeviceInfo]] = {
    "openvino": {
        "cpu": DeviceInfo("nothing", "everything, in every test"),
        "gpu": DeviceInfo(
            "a GPU of Intel with its driver; `gpu:1` is OpenVINO's GPU.1",
            f"graphs of fixed sizes and tensors that stay, on the processor in tests; {UNSEEN}",
        ),
        "npu": DeviceInfo(
            "an NPU of Intel with its driver; it computes in half precision, so export with `--precision fp16`",
            f"graphs of fixed sizes, on the processor in tests; {UNSEEN}",
        ),
    },
    "torch": {
        "cpu": DeviceInfo("nothing", "everything, in every test"),
        "cuda": DeviceInfo(
            "an NVIDIA GPU and PyTorch for CUDA, or an AMD GPU and PyTorch for ROCm",
            f"frames resized by PyTorch, half precisions, and what surrounds CUDA graphs, on the processor; {UNSEEN}",
        ),
        "mps": DeviceInfo("a Mac with Apple's own processor", f"frames resized by PyTorch, on the processor; {UNSEEN}"),
        "xpu": DeviceInfo("a GPU of Intel and PyTorch for XPU", UNSEEN),
    },
    "coreml": {
        units: DeviceInfo("a Mac with macOS 15", "its programs on an interpreter of ours; never on Apple's kernels")
        for units in ("all", "cpu", "cpu+gpu", "cpu+ane")
    },
    "litert": {"cpu": DeviceInfo("nothing", "everything, in every test")},
}
"""By backend, then by what `device=` begins with, in small letters."""
