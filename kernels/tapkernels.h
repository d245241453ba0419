// The kernels as a caller sees them: find an op, check a call, run it.
//
//     const Op& op = find_op("local_correlation");
//     Call call = ...;                            // inputs, attributes, threads
//     std::vector<Shape> shapes = check(op, call);  // throws ArgumentError, else the shapes of the outputs
//     call.outputs[0] = ...;                      // the caller allocates
//     op.run(call);
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "op.h"

namespace tapkernels {

// An argument that an op does not accept; the message says which, what is allowed, and what came.
struct ArgumentError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

// An instruction set that is unknown, or that this processor or this build lacks.
struct IsaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// From the plainest to the fastest; the last available one is the default.
enum class Isa { scalar, neon, avx2, avx512 };
constexpr int kIsaCount = 4;

// The instruction sets that this build contains and this processor runs, plainest first.
std::vector<std::string> available_isas();

// The one in use: what set_isa chose, else the environment variable TAPKERNELS_ISA as it was at the first
// call of this function, else the fastest available. Throws IsaError.
Isa active_isa();
const char* isa_name(Isa isa);

// An empty name returns to the choice that active_isa makes by itself. Throws IsaError.
void set_isa(std::string_view name);

// The op compiled for the active instruction set. Throws ArgumentError, or IsaError from active_isa.
const Op& find_op(std::string_view name);
std::vector<std::string> op_names();

// The number of threads that suits this machine.
int default_threads();

std::vector<Shape> check(const Op& op, const Call& call);

// Throws ArgumentError if an output cannot be written to the tensor that is given for it. `given` has one for
// every output, with `DType::other` where the caller gives none; `shapes` is what `check` gave.
void check_given(const Op& op, const Call& call, const std::vector<Shape>& shapes, const Tensor* given);

// "float32 or uint8 [H, W, 3]": what `input` accepts, for messages.
std::string describe(const Input& input);

}  // namespace tapkernels
