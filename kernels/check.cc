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

std::string describe(const Tensor& tensor) {
    std::string text = std::string(dtype_name(tensor.dtype)) + " [";
    for (int axis = 0; axis < tensor.shape.rank; ++axis) {
        text += (axis ? ", " : "") + std::to_string(tensor.shape.size[axis]);
    }
    return text + "]";
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

void check_input(const Op& op, const Input& input, const Tensor& tensor, Sizes& sizes) {
    if (!matches(input, tensor, sizes)) {
        throw ArgumentError(std::string(op.name) + ": " + input.name + " must be " + describe(input) +
                            imposed(input, sizes) + ", got " + describe(tensor));
    }
    if (!input.strided && !is_contiguous(tensor)) {
        fail("%s: %s must be C-contiguous; numpy.ascontiguousarray(%s) makes it so", op.name, input.name,
             input.name);
    }
    if (tensor.dtype == DType::float32 &&
        reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(float) != 0) {
        fail("%s: the memory of %s must be aligned to 4 bytes; a copy is", op.name, input.name);
    }
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

void fail(const char* format, ...) {
    char text[512];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    throw ArgumentError(text);
}

}  // namespace tapkernels
