// Checks a call against the declaration of its op, so that `run` can trust every size and pointer, and so
// that every binding gives the same sentences.
#include <cstdarg>
#include <cstdio>

#include "tapkernels.h"

namespace tapkernels {
namespace {

const char* dtype_name(DType dtype) {
    switch (dtype) {
        case DType::uint8:
            return "uint8";
        case DType::float32:
            return "float32";
        default:
            return "another dtype";
    }
}

std::string describe(DType dtype, const Shape& shape) {
    std::string text = std::string(dtype_name(dtype)) + " [";
    for (int axis = 0; axis < shape.rank; ++axis) {
        text += (axis ? ", " : "") + std::to_string(shape.size[axis]);
    }
    return text + "]";
}

std::string describe(const Tensor& tensor) {
    return describe(tensor.dtype, tensor.shape);
}

// The sizes of the letters met so far, and the input that fixed each.
struct Sizes {
    std::int64_t size[26] = {};
    const char* owner[26] = {};
};

bool is_letter(char axis) {
    return axis >= 'A' && axis <= 'Z';
}

bool matches(const Input& input, const Tensor& tensor, const Sizes& sizes) {
    if (!(input.dtypes & only(tensor.dtype))) return false;
    if (tensor.shape.rank != static_cast<int>(std::string_view(input.shape).size())) return false;
    for (int axis = 0; axis < tensor.shape.rank; ++axis) {
        const char symbol = input.shape[axis];
        const std::int64_t size = tensor.shape.size[axis];
        if (!is_letter(symbol)) {
            if (size != symbol - '0') return false;
        } else if (sizes.owner[symbol - 'A'] && size != sizes.size[symbol - 'A']) {
            return false;
        }
    }
    return true;
}

// " with N = 10 as in query": the sizes that earlier inputs impose on `input`.
std::string imposed(const Input& input, const Sizes& sizes) {
    std::string text;
    for (const char* symbol = input.shape; *symbol; ++symbol) {
        if (!is_letter(*symbol) || !sizes.owner[*symbol - 'A']) continue;
        const int letter = *symbol - 'A';
        text += text.empty() ? " with " : " and ";
        text += std::string(1, *symbol) + " = " + std::to_string(sizes.size[letter]) + " as in " +
                sizes.owner[letter];
    }
    return text;
}

bool is_contiguous(const Tensor& tensor) {
    std::int64_t expected = 1;
    bool contiguous = true;
    for (int axis = tensor.shape.rank - 1; axis >= 0; --axis) {
        const std::int64_t size = tensor.shape.size[axis];
        if (size == 0) return true;  // the strides of an empty array mean nothing
        if (size != 1 && tensor.strides[axis] != expected) contiguous = false;
        expected *= size;
    }
    return contiguous;
}

void check_layout(const Op& op, const char* name, bool strided, const Tensor& tensor) {
    if (!strided && !is_contiguous(tensor)) {
        fail("%s: %s must be C-contiguous; numpy.ascontiguousarray(%s) makes it so", op.name, name, name);
    }
    if (tensor.dtype == DType::float32 &&
        reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(float) != 0) {
        fail("%s: the memory of %s must be aligned to 4 bytes; a copy is", op.name, name);
    }
}

void check_input(const Op& op, const Input& input, const Tensor& tensor, Sizes& sizes) {
    if (!matches(input, tensor, sizes)) {
        throw ArgumentError(std::string(op.name) + ": " + input.name + " must be " + describe(input) +
                            imposed(input, sizes) + ", got " + describe(tensor));
    }
    check_layout(op, input.name, input.strided, tensor);
    for (int axis = 0; axis < tensor.shape.rank; ++axis) {
        const char symbol = input.shape[axis];
        if (!is_letter(symbol) || sizes.owner[symbol - 'A']) continue;
        sizes.size[symbol - 'A'] = tensor.shape.size[axis];
        sizes.owner[symbol - 'A'] = input.name;
    }
}

Shape output_shape(const Output& output, const Sizes& sizes) {
    Shape shape = {};
    for (const char* symbol = output.shape; *symbol; ++symbol) {
        shape.size[shape.rank++] = is_letter(*symbol) ? sizes.size[*symbol - 'A'] : *symbol - '0';
    }
    return shape;
}

// The bytes that a tensor reaches over, from `begin` to before `end`.
struct Extent {
    std::uintptr_t begin, end;
};

Extent extent_of(const Tensor& tensor) {
    const std::int64_t bytes = tensor.dtype == DType::uint8 ? 1 : sizeof(float);
    std::int64_t first = 0, last = 0;
    for (int axis = 0; axis < tensor.shape.rank; ++axis) {
        if (tensor.shape.size[axis] == 0) return {0, 0};
        const std::int64_t reach = (tensor.shape.size[axis] - 1) * tensor.strides[axis];
        (reach < 0 ? first : last) += reach;
    }
    const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
    return {begin + static_cast<std::uintptr_t>(first * bytes),
            begin + static_cast<std::uintptr_t>((last + 1) * bytes)};
}

void check_apart(const Op& op, const char* name, const Tensor& tensor, const char* other_name,
                 const Tensor& other) {
    const Extent one = extent_of(tensor), two = extent_of(other);
    if (one.begin < two.end && two.begin < one.end) {
        fail("%s: %s overlaps %s; give it memory of its own", op.name, name, other_name);
    }
}

bool same_shape(const Shape& a, const Shape& b) {
    bool same = a.rank == b.rank;
    for (int axis = 0; same && axis < a.rank; ++axis) same = a.size[axis] == b.size[axis];
    return same;
}

}  // namespace

std::string describe(const Input& input) {
    std::string text;
    for (DType dtype : {DType::uint8, DType::float32}) {
        if (input.dtypes & only(dtype)) text += (text.empty() ? "" : " or ") + std::string(dtype_name(dtype));
    }
    text += " [";
    for (const char* axis = input.shape; *axis; ++axis) {
        text += (axis == input.shape ? "" : ", ") + std::string(1, *axis);
    }
    return text + "]";
}

std::vector<Shape> check(const Op& op, const Call& call) {
    Sizes sizes;
    for (int i = 0; i < kMaxInputs && op.inputs[i].name; ++i) {
        check_input(op, op.inputs[i], call.inputs[i], sizes);
    }
    for (int i = 0; i < kMaxAttributes && op.attributes[i].name; ++i) {
        const Attribute& attribute = op.attributes[i];
        const long long value = call.attributes[i];
        if (value < attribute.lowest || value > attribute.highest) {
            fail("%s: %s must be from %lld to %lld, got %lld", op.name, attribute.name,
                 static_cast<long long>(attribute.lowest), static_cast<long long>(attribute.highest), value);
        }
    }
    if (call.threads < 1 || call.threads > kMaxThreads) {
        fail("%s: threads must be from 1 to %d, got %lld", op.name, kMaxThreads,
             static_cast<long long>(call.threads));
    }
    op.output_sizes(call, sizes.size);
    std::vector<Shape> shapes;
    for (int i = 0; i < kMaxOutputs && op.outputs[i].name; ++i) {
        shapes.push_back(output_shape(op.outputs[i], sizes));
    }
    return shapes;
}

void check_given(const Op& op, const Call& call, const std::vector<Shape>& shapes, const Tensor* given) {
    for (int i = 0; i < static_cast<int>(shapes.size()); ++i) {
        if (given[i].dtype == DType::other) continue;
        const Output& output = op.outputs[i];
        if (given[i].dtype != DType::float32 ||
            !same_shape(given[i].shape, shapes[static_cast<std::size_t>(i)])) {
            throw ArgumentError(std::string(op.name) + ": " + output.name + " must be " +
                                describe(DType::float32, shapes[static_cast<std::size_t>(i)]) + ", got " +
                                describe(given[i]));
        }
        check_layout(op, output.name, false, given[i]);
        for (int j = 0; j < kMaxInputs && op.inputs[j].name; ++j) {
            const bool replaced = output.replaces && std::string_view(output.replaces) == op.inputs[j].name;
            if (replaced && given[i].data == call.inputs[j].data) continue;
            check_apart(op, output.name, given[i], op.inputs[j].name, call.inputs[j]);
        }
        for (int j = 0; j < i; ++j) {
            if (given[j].dtype != DType::other)
                check_apart(op, output.name, given[i], op.outputs[j].name, given[j]);
        }
    }
}

void fail(const char* format, ...) {
    char text[512];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    throw ArgumentError(text);
}

}  // namespace tapkernels
