"""What ONNX Runtime calls execution providers: a row for each, with the word that `device=` has for it.

Nothing is imported here. ONNX Runtime comes as one of several packages, each with its providers, and all of them are
the same folder to Python, so that only one can be installed.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tapsdk.errors import BackendError

NOT_RUN = "choice, options and errors, with a provider list that tests make up; never on such a device"


@dataclass(frozen=True)
class Provider:
    """A way for ONNX Runtime to compute.

    options: what it is started with, by its own names; {which} stands for what `device=` has behind the colon, {cache}
        for a folder of its own. half: the same, added where the artifact was verified in half precision.
    which: what may stand behind the colon; usual: what is taken where nothing does.
    rest: providers for what this one cannot compute, before the processor's.
    memory: where tensors are that it keeps, as ONNX Runtime names it; "cpu": they pass through the processor's memory.
    one_at_a_time: a session must not be run by two threads at once.
    ran: what was run of it, and what was not.
    """

    name: str
    package: str
    needs: str
    ran: str = NOT_RUN
    options: Mapping[str, str] = field(default_factory=dict)
    half: Mapping[str, str] = field(default_factory=dict)
    which: str = ""
    usual: str = ""
    rest: tuple[str, ...] = ()
    memory: str = "cpu"
    one_at_a_time: bool = False

    def started_with(self, which: str, cache: str, precision: str) -> dict[str, str]:
        """Options for one of its devices. precision: of the artifact."""
        told = {**self.options, **(self.half if precision == "fp16" else {})}
        return {name: text.format(which=which or self.usual, cache=cache) for name, text in told.items()}


NUMBER = r"\d+"
PROVIDERS: dict[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "onnxruntime", "nothing", "everything, in every test"),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "onnxruntime-gpu",
        "an NVIDIA GPU, CUDA and cuDNN 9, which PyTorch for CUDA brings, too",
        options={"device_id": "{which}", "use_tf32": "0"},
        which=NUMBER,
        usual="0",
        memory="cuda",
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "onnxruntime-gpu",
        "what cuda needs, and TensorRT 10 (pip install tensorrt)",
        options={
            "device_id": "{which}",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "{cache}",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "{cache}",
        },
        half={"trt_fp16_enable": "1"},
        which=NUMBER,
        usual="0",
        rest=("cuda",),
        memory="cuda",
    ),
    "directml": Provider(
        "DmlExecutionProvider",
        "onnxruntime-directml",
        "Windows 10 or later, and a GPU for DirectX 12 of any maker",
        options={"device_id": "{which}"},
        which=NUMBER,
        usual="0",
        memory="dml",
        one_at_a_time=True,
    ),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        "onnxruntime",
        "a Mac with macOS 12 or later; the package for macOS has it",
        options={"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        "a processor, GPU or NPU of Intel with its driver",
        options={"device_type": "{which}", "precision": "FP32", "cache_dir": "{cache}"},
        half={"precision": "FP16"},
        which=r"(CPU|GPU|NPU|AUTO)(\.\d+)?",
        usual="AUTO",
    ),
    "qnn": Provider(
        "QNNExecutionProvider",
        "onnxruntime-qnn",
        "a Snapdragon with its NPU; what the NPU cannot compute, such as open sizes, stays on the processor",
        options={"backend_type": "htp", "htp_performance_mode": "burst"},
        half={"enable_htp_fp16_precision": "1"},
    ),
    "migraphx": Provider(
        "MIGraphXExecutionProvider",
        "onnxruntime-migraphx",
        "an AMD GPU with ROCm and MIGraphX",
        options={"device_id": "{which}"},
        half={"migraphx_fp16_enable": "1"},
        which=NUMBER,
        usual="0",
    ),
    "rocm": Provider(
        "ROCMExecutionProvider",
        "onnxruntime-rocm",
        "an AMD GPU with ROCm, and ONNX Runtime before 1.23, which left it to migraphx",
        options={"device_id": "{which}"},
        which=NUMBER,
        usual="0",
    ),
}
"""By the word of `device=`, in small letters."""

PACKAGES = tuple(dict.fromkeys(row.package for row in PROVIDERS.values()))
"""On PyPI; each is ONNX Runtime, with other providers."""


def parse_device(device: str | None) -> tuple[str, str]:
    """(word of PROVIDERS, what stands behind the colon), of such as "cuda:1"; None: the processor.

    Raises BackendError for anything else.
    """
    word, _, which = (device or "cpu").partition(":")
    row = PROVIDERS.get(word.lower())
    if row is None:
        raise BackendError(
            f"backend 'onnxruntime' has no device {device!r}: it knows {', '.join(PROVIDERS)}, and runs everywhere on "
            "the processor, device 'cpu'"
        )
    if (which or str(device).endswith(":")) and not (row.which and re.fullmatch(row.which, which, re.IGNORECASE)):
        example = {"": "", NUMBER: f" or {word}:1"}.get(row.which, f" or {word}:GPU")
        raise BackendError(f"backend 'onnxruntime' has no device {device!r}: write {word}{example}")
    return word.lower(), which.upper()


def check_available(word: str, available: list[str], version: str) -> None:
    """Raises BackendError where the ONNX Runtime that is installed lacks a provider.

    available: names of providers, as it says them.
    """
    row = PROVIDERS[word]
    missing = [each for each in (word, *row.rest) if PROVIDERS[each].name not in available]
    if not missing:
        return
    here = ", ".join(each for each, known in PROVIDERS.items() if known.name in available)
    packages = installed_packages()
    has = " and ".join(f"{name} {number}" for name, number in packages.items()) or f"onnxruntime {version}"
    if row.package in packages:
        way = f"this {row.package} was built without it"
    else:
        gone = " ".join(packages) or "onnxruntime"
        way = f"it comes with {row.package} (pip uninstall -y {gone} && pip install {row.package})"
    raise BackendError(
        f"backend 'onnxruntime' has no device {word!r} here: {has} has {here}, and no {PROVIDERS[missing[0]].name}; "
        f"{way}, and needs {row.needs}"
    )


def installed_packages() -> dict[str, str]:
    """Versions of all packages that are ONNX Runtime, by name. More than one overwrite each other's files."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def overlap() -> str:
    """What is wrong with the packages that are installed; nothing if one is."""
    packages = installed_packages()
    if len(packages) < 2:
        return ""
    told = " and ".join(f"{name} {version}" for name, version in packages.items())
    wanted = next(name for name in reversed(packages) if name != "onnxruntime")
    return (
        f"{told} overwrite each other's files; keep one: pip uninstall -y {' '.join(packages)} && pip install {wanted}"
    )
