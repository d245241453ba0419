"""Local correlation in Triton agrees with the reference, on the same table of calls as the kernels'.

Without a GPU it runs in Triton's interpreter, point by point in Python, so that of many points a few are taken; and in
a process of its own, since the interpreter has to be asked for before Triton is imported.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tapkernels import reference
from tests.kernels.test_ops import ROWS, correlation
from tests.support import ROOT, child_environment

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if importlib.util.find_spec("triton") is None:
    pytest.skip("needs triton, which PyTorch for CUDA brings: pip install triton", allow_module_level=True)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MOST_POINTS = 1000 if DEVICE == "cuda" else 6
NOWHERE = [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**31), 3.4e38]
CHILD = """
import sys, numpy as np, torch
from tapkernels.triton import local_correlation
given, made, device = sys.argv[1:]
calls, found = dict(np.load(given)), {}
for name in [name[:-5] for name in calls if name.endswith("/grid")]:
    tensors = (torch.from_numpy(calls[f"{name}/{part}"]).to(device) for part in ("grid", "query", "xy"))
    try:
        found[name] = local_correlation(*tensors, int(calls[f"{name}/radius"])).cpu().numpy()
    except ValueError as error:
        found[name] = np.array(str(error))
np.savez(made, **found)
"""


def all_calls():
    """(grid, query, xy, radius) by name."""
    (row,) = (row for row in ROWS if row.op == "local_correlation")
    found = {
        name: (grid, query[:MOST_POINTS], xy[:MOST_POINTS], *(radius or [3]))
        for name, (grid, query, xy, *radius) in row.calls(np.random.default_rng(0))
    }
    for axis in (0, 1):
        grid, query, xy = correlation(np.random.default_rng(0), (6, 7, 5), points=len(NOWHERE))
        xy[:], xy[:, axis] = 3, NOWHERE
        found[f"nowhere along {axis}"] = grid, query, xy, 3
    grid, query, xy = correlation(np.random.default_rng(0), (6, 7, 5), points=3)
    refused = {"radius": (query, xy, 16), "dtype": (query, xy.astype(np.float64), 3), "points": (query[:2], xy, 3)}
    return found | {f"refused {why}": (grid, *rest) for why, rest in refused.items()}


CALLS = all_calls()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    parts = ("grid", "query", "xy", "radius")
    np.savez(folder / "given.npz", **{f"{n}/{p}": a for n, c in CALLS.items() for p, a in zip(parts, c, strict=True)})
    environment = {**child_environment(), **({"TRITON_INTERPRET": "1"} if DEVICE == "cpu" else {})}
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(ROOT / "bindings")])
    command = [sys.executable, "-c", CHILD, folder / "given.npz", folder / "made.npz", DEVICE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "made.npz"))


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith(("refused", "nowhere"))])
def test_agrees_with_the_reference(results, name):
    assert results[name].dtype == np.float32
    np.testing.assert_allclose(results[name], reference.local_correlation(*CALLS[name]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_is_zero_at_coordinates_that_are_no_place(results, axis):
    found = results[f"nowhere along {axis}"]
    assert found.shape == (len(NOWHERE), 49)
    assert not found.any()


@pytest.mark.parametrize("why, told", [("radius", "with 16"), ("dtype", "float64 [3, 2]"), ("points", "[2, 5]")])
def test_what_it_does_not_take_is_refused(results, why, told):
    message = str(results[f"refused {why}"])
    assert message.startswith("grid, query and xy must be float32 [H, W, C], [N, C] and [N, 2] with a radius from 0 to")
    assert told in message
