// What an op is. A file under ops/ includes this header, defines one `Op` per instruction set and knows
// nothing of Python or of any framework; a binding reads that `Op` to check arguments and size the output.
//
// Files under ops/ are compiled once per instruction set. Whatever they use from here must therefore be plain
// data or a function defined in a .cc file: an inline function or a template of the standard library,
// compiled with AVX-512 switched on, could be the copy that the linker keeps for everybody.
#pragma once

#include <cstdint>

namespace tapkernels {

constexpr int kMaxRank = 8;
constexpr int kMaxInputs = 16;
constexpr int kMaxAttributes = 4;
constexpr int kMaxOutputs = 4;
constexpr int kMaxThreads = 256;

enum class DType : unsigned { other = 0, uint8 = 1, float32 = 2 };

struct Shape {
    int rank;
    std::int64_t size[kMaxRank];
};

struct Tensor {
    const void* data;
    DType dtype;
    Shape shape;
    std::int64_t strides[kMaxRank];  // in elements, possibly negative
};

// What the caller hands over. Outputs are C-contiguous, of the shapes that `check` gives.
struct Call {
    Tensor inputs[kMaxInputs];
    std::int64_t attributes[kMaxAttributes];
    float* outputs[kMaxOutputs];
    std::int64_t threads;
};

// `shape` has one character per axis: an upper-case letter is a size that every axis of that letter shares, a
// digit is a fixed size. A strided input may have any strides; the others are C-contiguous.
struct Input {
    const char* name;
    unsigned dtypes;  // DType values joined by |
    const char* shape;
    bool strided;
};

// An integer argument from `lowest` to `highest`, both included.
struct Attribute {
    const char* name;
    std::int64_t lowest, highest;
};

// A float32 result. `shape` is written as that of an input; a letter that no input has stands for a size that
// `output_sizes` gives. Its memory overlaps no input, but may be that of the input which it `replaces`, if any.
struct Output {
    const char* name;
    const char* shape;
    const char* replaces;
};

// One op compiled for one instruction set. Unused inputs, attributes and outputs have no name. `output_sizes`
// and `run` get calls that agree with `inputs` and `attributes`; `output_sizes` checks what those cannot say,
// and sets the sizes of letters that only outputs have: size[0] is A, size[25] is Z.
struct Op {
    const char* name;
    Input inputs[kMaxInputs];
    Attribute attributes[kMaxAttributes];
    Output outputs[kMaxOutputs];
    void (*output_sizes)(const Call& call, std::int64_t* size);
    void (*run)(const Call& call);
};

constexpr unsigned operator|(DType a, DType b) {
    return static_cast<unsigned>(a) | static_cast<unsigned>(b);
}
constexpr unsigned only(DType dtype) {
    return static_cast<unsigned>(dtype);
}

// Throws ArgumentError with a printf-style message.
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
[[noreturn]] void fail(const char* format, ...);

// Memory for intermediate results, aligned to 64 bytes and freed with its owner.
struct Scratch {
    explicit Scratch(std::int64_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void* const data;
};

// Calls `body(context, begin, end)` over pieces of [0, count) of at least `grain` items, on at most `threads`
// threads with the caller among them. With one thread, or one piece, everything runs in the caller and no
// other thread is touched. Safe to call from several threads at once and after fork(). The first exception of
// a piece is rethrown.
void parallel_for(std::int64_t count, std::int64_t grain, std::int64_t threads,
                  void (*body)(const void* context, std::int64_t begin, std::int64_t end),
                  const void* context);

}  // namespace tapkernels
