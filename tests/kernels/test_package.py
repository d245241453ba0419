"""The package around the ops: choosing an instruction set, threads, imports."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import tapkernels

ISAS = ["scalar", "neon", "avx2", "avx512"]
MISSING = [name for name in ISAS if name not in tapkernels.info()["available_isas"]]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_info_describes_the_build():
    info = tapkernels.info()
    assert info["version"] == tapkernels.__version__ == metadata.version("tapsdk")
    assert info["isa"] in info["available_isas"]
    assert info["available_isas"][0] == "scalar"
    assert info["threads"] >= 1


def test_the_fastest_instruction_set_is_the_default():
    result = python("import tapkernels; print(tapkernels.info()['isa'])", TAPKERNELS_ISA="")
    assert result.stdout.strip() == tapkernels.info()["available_isas"][-1]


@pytest.mark.parametrize("name", tapkernels.info()["available_isas"])
def test_the_environment_chooses(name):
    result = python("import tapkernels; print(tapkernels.info()['isa'])", TAPKERNELS_ISA=name)
    assert result.stdout.strip() == name


def test_set_isa_chooses_and_returns(monkeypatch):
    default = tapkernels.info()["isa"]
    tapkernels.set_isa("scalar")
    assert tapkernels.info()["isa"] == "scalar"
    tapkernels.set_isa(None)
    assert tapkernels.info()["isa"] == default


@pytest.mark.parametrize("name", [*MISSING, "sse9"])
def test_an_instruction_set_that_is_not_here_is_an_error(name):
    available = "available here: " + ", ".join(tapkernels.info()["available_isas"])
    with pytest.raises(tapkernels.IsaError, match=f"set_isa asks for '{name}'.*{available}"):
        tapkernels.set_isa(name)
    result = python("import tapkernels; tapkernels.info()", TAPKERNELS_ISA=name)
    assert "IsaError: the environment variable TAPKERNELS_ISA asks for" in result.stderr
    assert available in result.stderr


def test_importing_loads_no_framework():
    result = python("import tapkernels, sys; print(*sys.modules)")
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "numpy" in loaded
    assert loaded.isdisjoint({"torch", "jax", "onnxruntime", "openvino", "cv2", "av", "tapsdk"})


def test_the_stub_lists_what_the_extension_has():
    stub = (Path(tapkernels.__file__).parent / "_ext.pyi").read_text()
    public = {name for name in dir(tapkernels._ext) if not name.startswith("_")}
    declared = {line.split()[1].partition("(")[0] for line in stub.splitlines() if line.startswith(("def", "class"))}
    assert public == declared


IMAGE = "np.arange(400 * 400 * 3, dtype=np.uint8).reshape(400, 400, 3)"


def test_calls_from_several_threads_do_not_disturb_each_other():
    image = np.random.default_rng(0).integers(0, 256, size=(400, 400, 3), dtype=np.uint8)
    sizes = [(100 + i, 90) for i in range(32)]
    expected = [tapkernels.resize_normalize(image, *size, threads=1) for size in sizes]
    with ThreadPoolExecutor(8) as executor:
        results = list(executor.map(lambda size: tapkernels.resize_normalize(image, *size, threads=4), sizes))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own():
    code = f"""
import os, warnings, numpy as np, tapkernels
warnings.simplefilter("ignore")  # Python warns of threads that do not survive a fork: they are the point
image = {IMAGE}
expected = tapkernels.resize_normalize(image, 100, 100, threads=4)
child = os.fork()
same = np.array_equal(tapkernels.resize_normalize(image, 100, 100, threads=4), expected)
if child == 0:
    os._exit(0 if same else 1)
assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to count threads")
@pytest.mark.parametrize(("threads", "new"), [(1, 0), (3, 2)])
def test_starts_only_the_threads_that_it_is_given(threads, new):
    code = f"""
import os, numpy as np, tapkernels
image = {IMAGE}
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    tapkernels.resize_normalize(image, 100, 100, threads={threads})
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert python(code).stdout.strip() == str(new)
