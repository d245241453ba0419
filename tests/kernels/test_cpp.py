"""The kernels build and pass their C++ test without Python, and keep each instruction set to itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    build = tmp_path_factory.mktemp("build")
    run("cmake", "-S", str(ROOT), "-B", str(build), "-DTAPKERNELS_TEST=ON")
    run("cmake", "--build", str(build), "--parallel", "2")
    return build


@pytest.mark.slow
def test_the_cpp_test_passes(build):
    run("ctest", "--test-dir", str(build), "--output-on-failure")


@pytest.mark.slow
def test_no_call_makes_the_sanitizers_complain(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    run("cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DTAPKERNELS_TEST=ON", "-DTAPKERNELS_SANITIZE=ON")
    run("cmake", "--build", str(tmp_path), "--parallel", "2")
    run("ctest", "--test-dir", str(tmp_path), "--output-on-failure")
    assert "0 findings" in run(str(tmp_path / "fuzz_kernels"), "20", "1")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm to read object files")
def test_no_code_of_an_instruction_set_can_replace_that_of_another(build):
    """A weak symbol in an object compiled for AVX-512 could become the one copy that every processor runs."""
    objects = [path for path in build.rglob("*.o*") if re.search(r"tapkernels_\w+\.dir.*\.o(bj)?$", str(path))]
    assert len(objects) >= 4
    for path in objects:
        weak = re.findall(r"^\S* [WVu] (?!DW\.ref\.)(.*)$", run("nm", "-C", str(path)), flags=re.MULTILINE)
        assert not weak, path
