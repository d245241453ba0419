"""What runners open: weights, our artifacts, and plain ONNX graphs. Made once, kept in out/benchmarks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tapsdk.artifact import bundled_models
from tapsdk.errors import TapsdkError
from training.checkpoints.loading import find_weights

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "out" / "benchmarks"
SOURCES = (
    "export",
    "training/models",
    "training/checkpoints",
    "tapsdk/artifact",
    "benchmarks/literal.py",
    "benchmarks/plain_onnx.py",
)
"""What decides what a made file holds. Of a change there, it is made anew."""

PLAIN = {"tapir/tiny": (192, 336), "tapir/boots-causal": (256, 256)}
"""Models with plain ONNX graphs, and the (height, width) of the frames that these are for."""
EXPORTED = ("tapir/boots-causal", "tapir/boots")
"""Models that no artifact is bundled of."""


@dataclass(frozen=True)
class Need:
    """What a runner opens: a model's artifact, or its plain ONNX graphs."""

    model: str
    plain: bool = False


EVERYTHING = (*(Need(model) for model in EXPORTED), *(Need(model, plain=True) for model in PLAIN))


def weights_of(model: str) -> Path:
    """The bundled or official weights, else the random ones that `prepare` made: speed does not depend on them."""
    try:
        return find_weights(model)
    except TapsdkError:
        return FOLDER / f"{_slug(model)}-random.safetensors"


def has_random_weights(model: str) -> bool:
    return weights_of(model).parent == FOLDER


def artifact_of(model: str) -> str:
    """What `tapsdk.load` takes."""
    return model if model in bundled_models() else str(FOLDER / _slug(model))


def plain_of(model: str, name: str) -> Path:
    """A graph of `benchmarks.plain_onnx`: "init" or "step"."""
    return FOLDER / f"{_slug(model)}-plain" / f"{name}.onnx"


def prepare(say: Callable[[str], None], needs: Collection[Need] = EVERYTHING) -> list[str]:
    """Makes what is missing or outdated. Returns why something could not be made; rows that need it fail."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    python = [sys.executable, "-m"]
    for need in needs:
        model, weights = need.model, weights_of(need.model)
        if has_random_weights(model):
            make = [*python, "benchmarks.random_weights", model, str(weights)]
            failures += _make(f"random weights of {model}", weights, make, say)
        if need.plain:
            directory, size = plain_of(model, "step").parent, "{}x{}".format(*PLAIN[model])
            make = [*python, "benchmarks.plain_onnx", model, str(weights), size, str(directory)]
            failures += _make(f"the plain ONNX graphs of {model}", directory, make, say)
        else:
            directory = FOLDER / _slug(model)
            make = [*python, "export", model, "--target", "onnx", "--weights", str(weights), "-o", str(directory)]
            failures += _make(f"the artifact of {model}", directory, make, say)
    return failures


def _make(what: str, path: Path, command: list[str], say: Callable[[str], None]) -> list[str]:
    """Runs a command that makes a file or folder, unless it is there and up to date. Returns complaints."""
    stamp, wanted = path.with_name(f"{path.name}.made-from"), _sources()
    if path.exists() and stamp.exists() and stamp.read_text() == wanted:
        return []
    say(f"making {what} (once)")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        say(f"  failed: {last}")
        return [f"{what}: {last}"]
    stamp.write_text(wanted)
    return []


def _sources() -> str:
    files = [p for name in SOURCES for p in sorted((ROOT / name).rglob("*.py") if "." not in name else [ROOT / name])]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _slug(model: str) -> str:
    return model.replace("/", "-")
