"""The interpreter of Core ML programs computes what the operations are defined to be, or says that it cannot.

What coremltools infers from constants is the definition, as far as it infers anything; PyTorch's layers are the other.
"""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapsdk.artifact.content import read_content
from tapsdk.artifact.manifest import StageSpec, TensorSpec
from tapsdk.errors import ArtifactError, BackendError
from tests.support import import_or_skip

torch = import_or_skip("torch")
pytest.importorskip("coremltools", reason="needs coremltools: pip install 'tapsdk[export-coreml]'")

from export.targets.coreml import interpreter as mil  # noqa: E402
from export.targets.coreml.interpreter import OPERATIONS, MilError, MilInterpreter, MilSession  # noqa: E402
from export.targets.coreml.target import quiet_converter  # noqa: E402

ct = mil.ct

from coremltools.converters.mil.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, Placeholder, types  # noqa: E402

TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
SYSTEM = ct.target.iOS18


def function_of(operation, arrays, constants):
    """A function with inputs like `arrays`, whose result is that of one operation."""
    inputs = {name: Placeholder(a.shape, TYPES[str(a.dtype)], name=name) for name, a in arrays.items()}
    with Function(inputs, opset_version=SYSTEM) as function:
        found = getattr(mb, operation)(**function.inputs, **constants)
        function.set_outputs(list(found) if isinstance(found, (list, tuple)) else [found])
    return function


def interpreted(operation, arrays, **constants):
    """What the interpreter makes of an operation: an array for each of its results."""
    function = function_of(operation, arrays, constants)
    return list(MilSession(function).run(arrays).values())


def inferred(operation, arrays, **constants):
    """What coremltools says the results are."""
    with Function({"unused": Placeholder((1,), types.fp32, name="unused")}, opset_version=SYSTEM):
        found = getattr(mb, operation)(**arrays, **constants)
    return [var.val for var in (found if isinstance(found, (list, tuple)) else [found])]


def check(operation, arrays, **constants):
    expected = inferred(operation, arrays, **constants)
    found = interpreted(operation, arrays, **constants)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)
        assert one.shape == np.shape(other)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


floats = st.floats(-8, 8, width=32)
shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)
some_arrays = hnp.arrays(np.float32, shapes, elements=floats)
quickly = settings(max_examples=15, deadline=None)


# Against what coremltools infers


@pytest.mark.parametrize(
    "operation",
    ["abs", "exp", "floor", "relu", "relu6", "round", "sigmoid", "softplus", "square", "tanh", "sqrt", "rsqrt", "log"],
)
@quickly
@given(x=some_arrays)
def test_functions_of_one_tensor(operation, x):
    x = np.abs(x) + np.float32(0.01) if operation in ("sqrt", "rsqrt", "log") else x
    check(operation, {"x": x})


@pytest.mark.parametrize(
    "operation",
    [
        *("add", "sub", "mul", "real_div", "floor_div", "pow", "maximum", "minimum"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    ],
)
@quickly
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, max_side=3), data=st.data())
def test_functions_of_two_tensors(operation, shapes, data):
    x, y = (data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-4, 4))) for shape in shapes.input_shapes)
    if operation in ("real_div", "floor_div", "pow"):
        x, y = np.abs(x) + 1, np.abs(y) + 1
    check(operation, {"x": x, "y": y})


@pytest.mark.parametrize("operation", ["logical_and", "logical_or"])
@quickly
@given(x=hnp.arrays(bool, (2, 3)), y=hnp.arrays(bool, (1, 3)))
def test_functions_of_truth_values(operation, x, y):
    check(operation, {"x": x, "y": y})
    check("logical_not", {"x": x})


@quickly
@given(x=some_arrays, low=floats, width=st.floats(0.5, 8, width=32))
def test_clip(x, low, width):
    check("clip", {"x": x}, alpha=np.float32(low), beta=np.float32(low) + np.float32(width))


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION"])
@quickly
@given(x=some_arrays)
def test_gelu(x, mode):
    check("gelu", {"x": x}, mode=mode)


@pytest.mark.parametrize("operation", ["reduce_sum", "reduce_mean", "reduce_max"])
@pytest.mark.parametrize("keep_dims", [False, True])
@quickly
@given(x=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=floats), data=st.data())
def test_reductions(operation, keep_dims, x, data):
    axes = data.draw(st.lists(st.integers(-x.ndim, -1), min_size=1, max_size=x.ndim - 1, unique=True))
    check(operation, {"x": x}, axes=axes, keep_dims=keep_dims)


@pytest.mark.parametrize("keep_dims", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_the_largest_is_the_first_of_the_largest(axis, keep_dims):
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.float32)
    (found,) = interpreted("reduce_argmax", {"x": x}, axis=axis, keep_dims=keep_dims)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, x.argmax(axis, keepdims=keep_dims))


@quickly
@given(x=some_arrays, data=st.data())
def test_softmax(x, data):
    check("softmax", {"x": x}, axis=data.draw(st.integers(-x.ndim, x.ndim - 1)))


@quickly
@given(x=some_arrays, data=st.data())
def test_slices(x, data):
    """Every kind of range, and single indices, on every axis."""
    pick = data.draw
    begin = [pick(st.integers(0, size - 1)) for size in x.shape]
    end = [pick(st.integers(first + 1, size)) for first, size in zip(begin, x.shape, strict=True)]
    masks = [[pick(st.booleans()) for _ in x.shape] for _ in range(3)]
    # One axis at least stays: a slice of none is a scalar, which MIL has in another way.
    masks[2][0] = False
    named = dict(zip(("begin_mask", "end_mask", "squeeze_mask"), masks, strict=True))
    check("slice_by_index", {"x": x}, begin=begin, end=end, stride=[pick(st.integers(1, 2)) for _ in x.shape], **named)


def test_a_slice_from_the_end():
    check("slice_by_index", {"x": normal(4, 5)}, begin=[-2, 0], end=[0, -1], end_mask=[True, False])


@quickly
@given(x=some_arrays, data=st.data())
def test_shapes(x, data):
    order = data.draw(st.permutations(range(x.ndim)))
    check("transpose", {"x": x}, perm=[axis - x.ndim if axis % 2 else axis for axis in order])
    check("reshape", {"x": x}, shape=[-1, x.shape[-1]])
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    check("expand_dims", {"x": x}, axes=[axis])
    (longer,) = inferred("expand_dims", {"x": x}, axes=[axis])
    check("squeeze", {"x": longer}, axes=[axis])
    check("tile", {"x": x}, reps=data.draw(st.lists(st.integers(1, 3), min_size=x.ndim, max_size=x.ndim)))
    check("reverse", {"x": x}, axes=[data.draw(st.integers(0, x.ndim - 1))])


def test_two_new_axes_are_counted_in_the_result():
    (found,) = interpreted("expand_dims", {"x": normal(2, 3)}, axes=[0, -1])
    assert found.shape == (1, 2, 3, 1)


@quickly
@given(x=some_arrays, data=st.data())
def test_padding(x, data):
    axes = data.draw(st.integers(1, x.ndim))
    widths = data.draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
    pairs = [(0, 0)] * (x.ndim - axes) + list(zip(widths[::2], widths[1::2], strict=True))
    (found,) = interpreted("pad", {"x": x}, pad=widths, mode="constant", constant_val=np.float32(1.5))
    np.testing.assert_array_equal(found, np.pad(x, pairs, constant_values=1.5))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_joining_and_splitting(axis):
    x, y = normal(4, 4, seed=1), normal(4, 4, seed=2)
    for operation, expected in (("concat", np.concatenate), ("stack", np.stack)):
        inputs = {"first": Placeholder((4, 4), types.fp32, name="first"), "last": Placeholder((4, 4), name="last")}
        with Function(inputs, opset_version=SYSTEM) as function:
            function.set_outputs([getattr(mb, operation)(values=list(function.inputs.values()), axis=axis)])
        (found,) = MilSession(function).run({"first": x, "last": y}).values()
        np.testing.assert_array_equal(found, expected([x, y], axis))
    parts = interpreted("split", {"x": x}, split_sizes=[1, 3], axis=axis)
    for found, expected in zip(parts, np.split(x, [1], axis), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_choosing_and_filling():
    cond = np.array([[True], [False]])
    check("select", {"cond": np.repeat(cond, 3, 1), "a": normal(2, 3, seed=1), "b": normal(2, 3, seed=2)})
    (found,) = interpreted("fill_like", {"ref_tensor": normal(2, 3)}, value=np.float32(2.5))
    np.testing.assert_array_equal(found, np.full((2, 3), 2.5, np.float32))


@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool", "fp16"])
def test_casts(dtype):
    x = np.array([-1.5, -0.0, 0.4, 1.5, 300.7], np.float32)
    expected = x.astype({"fp32": np.float32, "int32": np.int32, "bool": bool, "fp16": np.float16}[dtype])
    (found,) = interpreted("cast", {"x": x}, dtype=dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


# Against PyTorch's layers


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride, dilation, pad", [(1, 1, [0] * 4), (2, 1, [1, 0, 2, 1]), (1, 2, [1, 2, 0, 0])])
def test_convolution(groups, stride, dilation, pad):
    x, weight, bias = normal(2, 4, 7, 8), normal(6, 4 // groups, 3, 3, seed=1), normal(6, seed=2)
    (found,) = interpreted(
        "conv",
        {"x": x},
        weight=weight,
        bias=bias,
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        groups=groups,
        pad_type="custom" if any(pad) else "valid",
        **({"pad": pad} if any(pad) else {}),
    )
    top, bottom, left, right = pad
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    layer = torch.nn.functional.conv2d(*map(torch.from_numpy, (padded, weight, bias)), stride, 0, dilation, groups)
    np.testing.assert_allclose(found, layer.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_y", [False, True])
def test_products(transpose_x, transpose_y):
    x, y = normal(2, 3, 4), normal(1, 4, 5)
    given = {"x": x.swapaxes(1, 2).copy() if transpose_x else x, "y": y.swapaxes(1, 2).copy() if transpose_y else y}
    (found,) = interpreted("matmul", given, transpose_x=transpose_x, transpose_y=transpose_y)
    np.testing.assert_allclose(found, x @ y, rtol=1e-5, atol=1e-6)
    weight, bias = normal(6, 4, seed=1), normal(6, seed=2)
    (found,) = interpreted("linear", {"x": x}, weight=weight, bias=bias)
    np.testing.assert_allclose(found, x @ weight.T + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factors", [(2, 2), (2.0, 3.0)])
def test_larger_pictures(factors):
    """Cell i of n reads at (i + 0.5) / factor - 0.5, and the border beyond it: the definition, axis by axis."""
    x = normal(1, 2, 3, 4)
    found = interpreted(
        "upsample_bilinear",
        {"x": x},
        scale_factor_height=factors[0],
        scale_factor_width=factors[1],
        align_corners=False,
    )
    expected = x
    for axis, factor in zip((2, 3), factors, strict=True):
        size = x.shape[axis]
        place = ((np.arange(int(size * factor)) + 0.5) / factor - 0.5).clip(0, size - 1)
        before = np.floor(place).astype(int)
        share = (place - before).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
        after = np.take(expected, np.minimum(before + 1, size - 1), axis)
        expected = np.take(expected, before, axis) * (1 - share) + after * share
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-6)


def test_larger_pictures_with_corners_on_corners_are_refused():
    with pytest.raises(MilError, match="align_corners"):
        interpreted(
            "upsample_bilinear",
            {"x": normal(1, 1, 2, 2)},
            scale_factor_height=2,
            scale_factor_width=2,
            align_corners=True,
        )


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked):
    query, key, value = normal(1, 2, 3, 4), normal(1, 2, 5, 4, seed=1), normal(1, 2, 5, 6, seed=2)
    mask = {"attn_mask": np.where(np.arange(5) < 3, 0, -1e4).astype(np.float32)[None, None, None]} if masked else {}
    (found,) = interpreted("scaled_dot_product_attention", {"query": query, "key": key, "value": value, **mask})
    scores = query @ key.swapaxes(-1, -2) / 2 + mask.get("attn_mask", 0)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(found, weights / weights.sum(-1, keepdims=True) @ value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pads", [None, [0, 1, 0, 1]], ids=["valid", "custom"])
def test_pooling_takes_the_largest_and_never_what_is_beyond_the_border(pads):
    x = -np.abs(normal(1, 2, 8, 6)) - 1
    options = {"pad_type": "valid"} if pads is None else {"pad_type": "custom", "pad": pads}
    (found,) = interpreted("max_pool", {"x": x}, kernel_sizes=[3, 3], strides=[2, 2], **options)
    rows, columns = (4, 3) if pads else (3, 2)
    expected = [
        [x[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(columns)] for i in range(rows)
    ]
    np.testing.assert_array_equal(found[0], np.moveaxis(np.array(expected), -1, 0))


def test_normalisations():
    x, gamma, beta = normal(2, 3, 4, 5), normal(3, seed=1), normal(3, seed=2)
    (found,) = interpreted("instance_norm", {"x": x}, gamma=gamma, beta=beta, epsilon=np.float32(1e-3))
    centred = x - x.mean((2, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + 1e-3)
    np.testing.assert_allclose(found, expected * gamma[:, None, None] + beta[:, None, None], rtol=1e-5, atol=1e-5)
    mean, variance = normal(3, seed=3), np.abs(normal(3, seed=4)) + 0.5
    given = {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}
    (found,) = interpreted("batch_norm", {"x": x}, **given)
    scale = gamma / np.sqrt(variance + 1e-3)
    moved = (x - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]
    np.testing.assert_allclose(found, moved, rtol=1e-5, atol=1e-5)
    gamma, beta = normal(5, seed=1), normal(5, seed=2)
    (found,) = interpreted("layer_norm", {"x": x}, axes=[-1], gamma=gamma, beta=beta, epsilon=np.float32(1e-3))
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(found, expected * gamma + beta, rtol=1e-5, atol=1e-5)


# Half precision


def test_half_precision_rounds_after_every_operation():
    x = np.array([2048.0, 0.1, np.inf], np.float16)
    (found,) = interpreted("add", {"x": x, "y": np.ones(3, np.float16)})
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.array([2048.0, 1.1, np.inf], np.float16))  # 2049 is no half


def test_sums_of_half_precision_are_not_rounded_on_the_way():
    x = np.full((1, 4096), 1, np.float16)
    (found,) = interpreted("matmul", {"x": x, "y": x.T.copy()})
    assert found == 4096


# What it does not know


@pytest.mark.parametrize("operation", ["sin", "erf", "gather_nd"])
def test_an_unknown_operation_is_named(operation):
    assert operation not in OPERATIONS
    arrays = {"x": normal(2, 3)}
    constants = {"indices": np.zeros((1, 1), np.int32)} if operation == "gather_nd" else {}
    function = function_of(operation, arrays, constants)
    with pytest.raises(MilError, match=rf"operation '{operation}_\d+' \({operation}\) is not known"):
        MilSession(function)


def test_an_unknown_parameter_is_named():
    function = function_of("split", {"x": normal(4, 4)}, {"num_splits": 2, "axis": 0})
    with pytest.raises(
        MilError, match=r"operation 'split_\d+' \(split\) has parameters that are not known: num_splits"
    ):
        MilSession(function)


@pytest.mark.parametrize(
    "operation, constants, complaint",
    [
        ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, "mode = 'SIGMOID_APPROXIMATION' is not known"),
        ("pad", {"pad": [1, 1], "mode": "reflect"}, "mode = 'reflect' is not known, only 'constant'"),
        ("layer_norm", {"axes": [0]}, r"axes = \[0\] is not known"),
        ("conv", {"weight": normal(1, 4, 3), "pad_type": "same"}, "pad_type = 'same' is not known"),
        ("cast", {"dtype": "int16"}, "dtype = 'int16' is not known"),
        (
            "slice_by_index",
            {"begin": [2, 0, 3], "end": [0, 2, 0], "stride": [1, 1, -1], "begin_mask": [True] * 3},
            "whether stride is positive = False is not known",
        ),
    ],
)
def test_an_unknown_value_of_a_parameter_is_named(operation, constants, complaint):
    with pytest.raises(MilError, match=rf"{operation}.*: {complaint}"):
        interpreted(operation, {"x": normal(3, 4, 5)}, **constants)


def test_interleaving_is_not_known():
    with Function({"x": Placeholder((2, 2), name="x")}, opset_version=SYSTEM) as function:
        x = function.inputs["x"]
        function.set_outputs([mb.concat(values=[x, x], axis=0, interleave=True)])
    with pytest.raises(MilError, match="interleave = True is not known"):
        MilSession(function).run({"x": normal(2, 2)})


def test_a_result_of_another_shape_than_the_program_declares(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "relu", lambda x: x[:1])
    with pytest.raises(MilError, match=r"\(relu\) gave \(1, 3\), declared is \(2, 3\)"):
        interpreted("relu", {"x": normal(2, 3)})


# Packages

STAGE = StageSpec(
    (TensorSpec("x", ("N", 3), "query"),), (TensorSpec("y", ("N", 3), "logit"), TensorSpec("z", ("N", 3), "logit"))
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """y = 2 x, z = x + y for 4 points."""
    path = tmp_path_factory.mktemp("packages") / "stage.mlpackage"

    @mb.program(input_specs=[mb.TensorSpec((4, 3))], opset_version=SYSTEM)
    def program(x):
        y = mb.mul(x=x, y=2.0, name="y")
        return y, mb.add(x=x, y=y, name="z")

    with quiet_converter():
        model = ct.convert(
            program,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=SYSTEM,
            skip_model_load=True,
        )
        model.save(str(path.with_name("main.mlpackage")))
        functions = ct.utils.MultiFunctionDescriptor()
        functions.add_function(str(path.with_name("main.mlpackage")), "main", "points_4")
        functions.default_function_name = "points_4"
        ct.utils.save_multifunction(functions, str(path))
    return path


def opened(path, stage, points, engine=None):
    return (engine or MilInterpreter()).open(read_content(path, 1 << 20), stage, points)


def test_it_runs_a_package(package):
    session = opened(package, STAGE, 4)
    x = normal(4, 3)
    found = session.run({"x": x})
    np.testing.assert_array_equal(found["y"], 2 * x)
    np.testing.assert_allclose(found["z"], 3 * x, rtol=1e-6)
    assert all(type(value) is np.ndarray for value in found.values())


def test_kept_tensors_go_from_one_call_to_the_next(package):
    engine = MilInterpreter()
    session = opened(package, STAGE, 4, engine)
    x = normal(4, 3)
    kept = session.run({"x": engine.keep(x)}, keep=["y"])["y"]
    again = session.run({"x": kept})["y"]
    np.testing.assert_array_equal(again, 4 * x)
    copy = engine.fetch(kept)
    copy[:] = 0
    np.testing.assert_array_equal(engine.fetch(kept), 2 * x)


def test_it_says_that_it_is_not_core_ml():
    assert "MIL interpreter on torch" in MilInterpreter().describe()
    assert "Apple's own kernels were not run" in MilInterpreter().describe()


@pytest.mark.parametrize("inputs", [{}, {"x": normal(5, 3)}, {"x": normal(4, 3), "more": normal(1)}])
def test_tensors_that_it_does_not_take(package, inputs):
    with pytest.raises(BackendError, match=r"this program takes tensors of \{'x': \(4, 3\)\}, got "):
        opened(package, STAGE, 4).run(inputs)


def test_a_number_of_points_without_a_function(package):
    with pytest.raises(ArtifactError, match="has no function 'points_5'; it has points_4"):
        opened(package, STAGE, 5)


def test_a_package_of_another_stage(package):
    other = StageSpec(STAGE.inputs, STAGE.outputs[:1])
    with pytest.raises(ArtifactError, match="but the manifest declares"):
        opened(package, other, 4)


@pytest.mark.parametrize("what", ["nothing", "a file", "half a program"])
def test_what_is_no_package(package, tmp_path, what):
    path = tmp_path / "damaged.mlpackage"
    if what == "a file":
        path.write_text("no package")
    elif what == "nothing":
        path.mkdir()
    elif what == "half a program":
        shutil.copytree(package, path)
        program = path / "Data/com.apple.CoreML/model.mlmodel"
        program.write_bytes(program.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="cannot be read as a Core ML package"):
        opened(path, STAGE, 4)
