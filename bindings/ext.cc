// tapkernels._ext: every op of the table for Python, through one function. The contract of an op (dtypes,
// shapes, ranges) is its row; here arrays become tensors, errors become sentences, and the GIL is released
// while an op runs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "tapkernels.h"
#include "xla.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace tapkernels;

namespace {

using AnyArray = nb::ndarray<nb::ro>;
using Result = nb::ndarray<nb::numpy, float>;

DType dtype_of(const AnyArray& array) {
    if (array.dtype() == nb::dtype<std::uint8_t>()) return DType::uint8;
    if (array.dtype() == nb::dtype<float>()) return DType::float32;
    return DType::other;
}

// "float64 [3, 4]" of anything that calls itself an array, the name of the type of anything else.
std::string describe(nb::handle value) {
    if (!nb::hasattr(value, "dtype") || !nb::hasattr(value, "shape")) {
        return nb::cast<std::string>(value.type().attr("__name__"));
    }
    const nb::object dtype = value.attr("dtype");
    std::string sizes;
    for (nb::handle size : value.attr("shape"))
        sizes += (sizes.empty() ? "" : ", ") + nb::cast<std::string>(nb::str(size));
    return nb::cast<std::string>(nb::str(dtype)) + " [" + sizes + "]";
}

// Fills `tensor` without a copy. Whatever is no array, or of a dtype that no op takes, is refused here, where
// its true type is known; check() compares the rest with the row.
AnyArray read_input(const Op& op, const Input& input, nb::handle value, Tensor& tensor) {
    AnyArray array;
    const char* wanted = "";
    if (!nb::hasattr(value, "dtype") || !nb::hasattr(value, "shape")) wanted = "an array, ";
    const bool readable = nb::try_cast(value, array, /* convert = */ false);
    if (readable && array.device_type() != nb::device::cpu::value) wanted = "an array on the CPU, ";
    if (*wanted || !readable || dtype_of(array) == DType::other || array.ndim() > kMaxRank) {
        throw ArgumentError(std::string(op.name) + ": " + input.name + " must be " + wanted +
                            describe(input) + ", got " + describe(value));
    }
    tensor.data = array.data();
    tensor.dtype = dtype_of(array);
    tensor.shape.rank = static_cast<int>(array.ndim());
    for (std::size_t axis = 0; axis < array.ndim(); ++axis) {
        tensor.shape.size[axis] = static_cast<std::int64_t>(array.shape(axis));
        tensor.strides[axis] = array.stride(axis);
    }
    return array;
}

// The memory of an array that an output is to be written to.
float* read_given(const Op& op, const Output& output, nb::handle value, Tensor& tensor) {
    read_input(op, {output.name, only(DType::float32), output.shape, false}, value, tensor);
    nb::ndarray<> writable;
    if (!nb::try_cast(value, writable, /* convert = */ false)) {
        fail("%s: %s must be writable; a copy is", op.name, output.name);
    }
    return static_cast<float*>(writable.data());
}

std::int64_t read_integer(const Op& op, const Attribute& attribute, nb::handle value) {
    std::int64_t number = 0;
    if (!nb::try_cast(value, number)) {
        fail("%s: %s must be an integer from %lld to %lld, got %s", op.name, attribute.name,
             static_cast<long long>(attribute.lowest), static_cast<long long>(attribute.highest),
             nb::repr(value).c_str());
    }
    return number;
}

Result allocate(const Shape& shape) {
    std::size_t count = 1, sizes[kMaxRank];
    for (int axis = 0; axis < shape.rank; ++axis) {
        sizes[axis] = static_cast<std::size_t>(shape.size[axis]);
        count *= sizes[axis];
    }
    std::unique_ptr<float[]> memory(new float[count]);
    nb::capsule owner(memory.get(), [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return Result(memory.release(), static_cast<std::size_t>(shape.rank), sizes, owner);
}

// Like read_input, of anything with a dtype and a shape, whose memory is not looked at and taken to be C-contiguous.
void read_outline(const Op& op, const Input& input, nb::handle value, Tensor& tensor) {
    const bool is_array = nb::hasattr(value, "dtype") && nb::hasattr(value, "shape");
    const nb::object sizes = is_array ? nb::object(value.attr("shape")) : nb::make_tuple();
    const nb::object kind = is_array ? nb::object(value.attr("dtype")) : nb::none();
    const std::string dtype = nb::cast<std::string>(nb::str(kind));
    tensor.dtype = dtype == "uint8" ? DType::uint8 : dtype == "float32" ? DType::float32 : DType::other;
    if (tensor.dtype == DType::other || nb::len(sizes) > kMaxRank) {
        throw ArgumentError(std::string(op.name) + ": " + input.name + " must be " +
                            (is_array ? "" : "an array, ") + describe(input) + ", got " + describe(value));
    }
    for (nb::handle size : sizes) {
        tensor.shape.size[tensor.shape.rank++] = nb::cast<std::int64_t>(size);
    }
    std::int64_t stride = 1;
    for (int axis = tensor.shape.rank - 1; axis >= 0; --axis) {
        tensor.strides[axis] = stride;
        stride *= tensor.shape.size[axis];
    }
}

void read_numbers(const Op& op, nb::sequence attributes, nb::object threads, Call& call) {
    for (int i = 0; i < kMaxAttributes && op.attributes[i].name; ++i) {
        call.attributes[i] = read_integer(op, op.attributes[i], attributes[i]);
    }
    call.threads = read_integer(op, {"threads", 1, kMaxThreads}, threads);
}

// The shapes of what `run` would give, for frameworks that want to know them beforehand.
nb::list output_shapes(const std::string& name, nb::sequence inputs, nb::sequence attributes,
                       nb::object threads) {
    const Op& op = find_op(name);
    Call call = {};
    for (int i = 0; i < kMaxInputs && op.inputs[i].name; ++i) {
        read_outline(op, op.inputs[i], inputs[i], call.inputs[i]);
    }
    read_numbers(op, attributes, threads, call);
    nb::list shapes;
    for (const Shape& shape : check(op, call)) {
        nb::list sizes;
        for (int axis = 0; axis < shape.rank; ++axis) sizes.append(shape.size[axis]);
        shapes.append(nb::tuple(sizes));
    }
    return shapes;
}

// `given` holds an array for every output, or None for those that are made anew; or nothing at all. The caller's
// arguments keep all of this memory alive.
nb::list run(const std::string& name, nb::sequence inputs, nb::sequence attributes, nb::object threads,
             nb::sequence given) {
    const Op& op = find_op(name);
    Call call = {};
    std::vector<AnyArray> arrays;  // keeps the memory of the inputs alive
    for (int i = 0; i < kMaxInputs && op.inputs[i].name; ++i) {
        arrays.push_back(read_input(op, op.inputs[i], inputs[i], call.inputs[i]));
    }
    read_numbers(op, attributes, threads, call);
    const std::vector<Shape> shapes = check(op, call);
    Tensor targets[kMaxOutputs] = {};
    nb::list results;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        if (nb::len(given) && !given[i].is_none()) {
            call.outputs[i] = read_given(op, op.outputs[i], given[i], targets[i]);
            results.append(given[i]);
        } else {
            const Result result = allocate(shapes[i]);
            call.outputs[i] = result.data();
            results.append(result);
        }
    }
    check_given(op, call, shapes, targets);
    {
        nb::gil_scoped_release release;
        op.run(call);
    }
    return results;
}

}  // namespace

NB_MODULE(_ext, m) {
    nb::exception<ArgumentError>(m, "ArgumentError", PyExc_ValueError).attr("__module__") = "tapkernels";
    nb::exception<IsaError>(m, "IsaError", PyExc_RuntimeError).attr("__module__") = "tapkernels";
    m.attr("__version__") = TAPKERNELS_VERSION;
    m.def("run", &run, "op"_a, "inputs"_a, "attributes"_a, "threads"_a, "given"_a = nb::make_tuple());
    m.def("output_shapes", &output_shapes, "op"_a, "inputs"_a, "attributes"_a, "threads"_a);
    m.def("xla_handler", [] { return nb::capsule(reinterpret_cast<void*>(&tapkernels_xla)); });
    m.def("op_names", &op_names);
    m.def("isa", [] { return std::string(isa_name(active_isa())); });
    m.def("available_isas", &available_isas);
    m.def("set_isa", [](const std::string& name) { set_isa(name); }, "name"_a);
    m.def("default_threads", &default_threads);
}
