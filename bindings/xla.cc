// One handler for all ops: a call says which by its attributes, `op` (a string), `attributes` (int64 []) and
// `threads` (int64). Arguments and results are those of the op, in order.
//
// Against the C header of XLA's foreign function interface, a copy of which lies in third_party/, so that building
// needs no JAX. Its minor versions add to what is there and move nothing, and only what the oldest has is used.
#include "xla.h"

#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "tapkernels.h"
#include "xla/ffi/api/c_api.h"

using namespace tapkernels;

namespace {

constexpr int kOldestMinor = 1;

std::string_view text(const XLA_FFI_ByteSpan& span) {
    return {span.ptr, span.len};
}

// The attribute of that name and type.
const void* find(const XLA_FFI_Attrs& attributes, std::string_view name, XLA_FFI_AttrType type) {
    for (std::int64_t i = 0; i < attributes.size; ++i) {
        if (text(*attributes.names[i]) == name && attributes.types[i] == type) return attributes.attrs[i];
    }
    throw ArgumentError("a call of tapkernels by XLA lacks the attribute '" + std::string(name) + "'");
}

DType dtype_of(XLA_FFI_DataType type) {
    if (type == XLA_FFI_DataType_U8) return DType::uint8;
    return type == XLA_FFI_DataType_F32 ? DType::float32 : DType::other;
}

Tensor read_buffer(const Op& op, const XLA_FFI_Buffer& buffer) {
    if (buffer.rank > kMaxRank) fail("%s: an argument has more than %d axes", op.name, kMaxRank);
    Tensor tensor = {buffer.data, dtype_of(buffer.dtype), {static_cast<int>(buffer.rank), {}}, {}};
    std::int64_t stride = 1;
    for (int axis = tensor.shape.rank - 1; axis >= 0; --axis) {
        tensor.shape.size[axis] = buffer.dims[axis];
        tensor.strides[axis] = stride;
        stride *= buffer.dims[axis];
    }
    return tensor;
}

void read_attributes(const Op& op, const XLA_FFI_Attrs& from, Call& call) {
    const auto& values = *static_cast<const XLA_FFI_Array*>(find(from, "attributes", XLA_FFI_AttrType_ARRAY));
    const auto& threads = *static_cast<const XLA_FFI_Scalar*>(find(from, "threads", XLA_FFI_AttrType_SCALAR));
    std::size_t count = 0;
    while (count < kMaxAttributes && op.attributes[count].name) ++count;
    if (values.size < count || values.dtype != XLA_FFI_DataType_S64 ||
        threads.dtype != XLA_FFI_DataType_S64) {
        fail("%s: XLA must be given %zu attributes and the threads, all int64", op.name, count);
    }
    std::memcpy(call.attributes, values.data, count * sizeof call.attributes[0]);
    std::memcpy(&call.threads, threads.value, sizeof call.threads);
}

void run(const XLA_FFI_CallFrame& frame) {
    const auto& name =
        *static_cast<const XLA_FFI_ByteSpan*>(find(frame.attrs, "op", XLA_FFI_AttrType_STRING));
    const Op& op = find_op(text(name));
    Call call = {};
    read_attributes(op, frame.attrs, call);
    int inputs = 0;
    while (inputs < kMaxInputs && op.inputs[inputs].name) ++inputs;
    if (frame.args.size != inputs) fail("%s: XLA must be given %d arguments", op.name, inputs);
    for (int i = 0; i < inputs; ++i) {
        call.inputs[i] = read_buffer(op, *static_cast<const XLA_FFI_Buffer*>(frame.args.args[i]));
    }
    const std::vector<Shape> shapes = check(op, call);
    bool fits = frame.rets.size == static_cast<std::int64_t>(shapes.size());
    for (std::size_t i = 0; fits && i < shapes.size(); ++i) {
        const auto& buffer = *static_cast<const XLA_FFI_Buffer*>(frame.rets.rets[i]);
        fits = buffer.dtype == XLA_FFI_DataType_F32 && buffer.rank == shapes[i].rank;
        for (int axis = 0; fits && axis < shapes[i].rank; ++axis) {
            fits = buffer.dims[axis] == shapes[i].size[axis];
        }
        call.outputs[i] = static_cast<float*>(buffer.data);
    }
    if (!fits) fail("%s: XLA expects results of other shapes", op.name);
    op.run(call);
}

// XLA asks, when a handler is registered, which version of its interface this is made for: its own one, if it says
// which that is, as it does since it takes others than that.
bool answer(const XLA_FFI_CallFrame& frame) {
    XLA_FFI_Extension_Base* extension = frame.extension_start;
    if (!extension || extension->type != XLA_FFI_Extension_Metadata) return false;
    XLA_FFI_Metadata& metadata = *reinterpret_cast<XLA_FFI_Metadata_Extension*>(extension)->metadata;
    const bool is_known = frame.api && frame.api->api_version.major_version == XLA_FFI_API_MAJOR;
    metadata.api_version.major_version = XLA_FFI_API_MAJOR;
    metadata.api_version.minor_version = is_known ? frame.api->api_version.minor_version : kOldestMinor;
    metadata.traits = 0;
    return true;
}

XLA_FFI_Error* error(const XLA_FFI_CallFrame& frame, XLA_FFI_Error_Code code, const char* message) {
    XLA_FFI_Error_Create_Args arguments = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, message, code};
    return frame.api->XLA_FFI_Error_Create(&arguments);
}

}  // namespace

XLA_FFI_Error* tapkernels_xla(XLA_FFI_CallFrame* frame) {
    if (answer(*frame)) return nullptr;
    try {
        run(*frame);
        return nullptr;
    } catch (const ArgumentError& problem) {
        return error(*frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, problem.what());
    } catch (const std::exception& problem) {
        return error(*frame, XLA_FFI_Error_Code_INTERNAL, problem.what());
    }
}
