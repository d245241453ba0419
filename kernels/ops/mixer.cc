// The causal MLP-mixer of TAPIR (Doersch et al. 2023, arXiv:2306.08637), for one frame: what refines the
// estimate of every point on its own, with a memory of the two frames before.
//
//   x             [N, F] float32          what the mixer is told of each point
//   narrow        [B, N, 2, C] float32    memory of B blocks: what the first convolution saw in the two frames
//   wide          [B, N, 2, H] float32    before, the older first, and what the second one saw; H = 4 C
//   weights       [W] float32             packed, see `Network`
//   outputs                               O, the numbers given for each point
//   out           [N, O] float32
//   next_narrow   as narrow               memory of this frame and the one before; may be narrow itself
//   next_wide     as wide                 likewise
//
// x is embedded in C channels, C -> H and H -> C are those of a block, and O are read off at the end:
//
//   x = embed(x)
//   in each block:  y = norm(x);  g = gelu(up taps . (narrow, y));  x += sums of fours of out taps . (wide, g)
//                   x += down(gelu(up(norm(x))))
//   out = out(norm(x))
//
// where norms are layer norms without a bias, taps weigh three frames of one channel (channel c of y becomes
// channels 4 c to 4 c + 3 of g), gelu is the approximation by tanh, and embed, up, down and out are linear.
//
// Nearly all of the arithmetic is in the matrix products. All points of a piece of work go through one block
// before the next, so that its matrices are read from memory once, and a few dozen of them at a time through a
// product and what follows it, so that what lies between stays in the nearer caches. A point's numbers are
// made in one order whatever other points there are.
#include <math.h>
#include <string.h>

#include "../matmul.h"
#include "../op.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr std::int64_t kMostNumbers = 1 << 16;  // given for a point
constexpr int kFactor = 4;                      // between narrow and wide
constexpr int kTaps = 3;                        // frames of a convolution
constexpr float kEpsilon = 1e-5f;               // of norms

// Points that go through a product together: as many as have their intermediate results in this many floats.
constexpr std::int64_t kNearFloats = 1 << 16;
constexpr std::int64_t kFewestRows = 24, kMostRowsTogether = 96;

// Points of a piece of work: an equal share for each thread, but not fewer than kFewestPoints, for which it would
// not pay to read the matrices; from kPiece on, smaller shares than that will do.
constexpr std::int64_t kFewestPoints = 6, kPiece = 48;

// Rows of this many floats begin at a panel.
constexpr std::int64_t padded(std::int64_t count) {
    return (count + kPanel - 1) / kPanel * kPanel;
}

struct Linear {
    const float *panels, *bias;
    std::int64_t depth, columns;
};

struct Block {
    const float *norm_time, *up_taps, *up_bias, *out_taps, *out_bias, *norm_channels;
    Linear up, down;
};

// Sizes of a mixer, and its packed weights. These are, one after the other: embed; for each block norm_time, the
// taps and then the bias of the first convolution, those of the second, norm_channels, up, down; norm; out. All
// are in the panels of matmul.h: a linear layer is its matrix and then its bias, a vector a matrix of depth 1,
// the taps of H channels one of depth 3, the oldest frame first.
struct Network {
    std::int64_t inputs, width, wide, outputs, blocks;
    const float* weights;
};

std::int64_t floats(std::int64_t depth, std::int64_t columns) {
    return (depth + 1) * padded(columns);
}

std::int64_t floats_of_block(const Network& n) {
    return 2 * padded(n.width) + 2 * (kTaps + 1) * padded(n.wide) + floats(n.width, n.wide) +
           floats(n.wide, n.width);
}

std::int64_t floats_of(const Network& n) {
    return floats(n.inputs, n.width) + n.blocks * floats_of_block(n) + padded(n.width) +
           floats(n.width, n.outputs);
}

const float* take(const float*& next, std::int64_t count) {
    const float* const taken = next;
    next += count;
    return taken;
}

Linear take_linear(const float*& next, std::int64_t depth, std::int64_t columns) {
    const float* const panels = take(next, depth * padded(columns));
    return {panels, take(next, padded(columns)), depth, columns};
}

Block take_block(const float*& next, const Network& n) {
    Block block = {};
    block.norm_time = take(next, padded(n.width));
    block.up_taps = take(next, kTaps * padded(n.wide));
    block.up_bias = take(next, padded(n.wide));
    block.out_taps = take(next, kTaps * padded(n.wide));
    block.out_bias = take(next, padded(n.wide));
    block.norm_channels = take(next, padded(n.width));
    block.up = take_linear(next, n.width, n.wide);
    block.down = take_linear(next, n.wide, n.width);
    return block;
}

struct Problem {
    Network network;
    const float *x, *narrow, *wide;
    float *out, *next_narrow, *next_wide;
    std::int64_t points;
};

// What belongs to one point in the memory of one block, and how far on in `wide` the next point's is, if any.
struct Memory {
    const float *narrow, *wide;
    float *next_narrow, *next_wide;
    std::int64_t ahead;
};

// Padded rows of intermediate results: of `rows` points together, and of one point.
struct Workspace {
    std::int64_t rows;
    float *narrow, *wide;  // [rows, C] and [rows, H]
    float *frames, *sums;  // [kTaps, C] and [C]
};

// x * sigmoid(2 z) is x / 2 * (1 + tanh(z)). Below -16 it is nearer to 0 than any float.
Vec gelu(Vec x) {
    const Vec slope = fma(x * x, Vec::all(-0.0713548162726f), Vec::all(-1.59576912161f));
    return max(Vec::all(-16), x) / (Vec::all(1) + exp(x * slope));
}

void apply_gelu(float* values, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vec::kLanes) gelu(Vec::load(values + i)).store(values + i);
}

void normalize(const float* x, const float* weight, std::int64_t width, float* out) {
    const float share = 1 / static_cast<float>(width);
    const int rest = static_cast<int>(width % Vec::kLanes);
    const std::int64_t whole = width - rest;
    Vec total = Vec::load_first(x + whole, rest);
    for (std::int64_t c = 0; c < whole; c += Vec::kLanes) total = total + Vec::load(x + c);
    const Vec mean = Vec::all(sum(total) * share);

    float means[Vec::kLanes];
    mean.store(means);
    const Vec last = Vec::load_first(x + whole, rest) - Vec::load_first(means, rest);
    Vec squares = last * last;
    for (std::int64_t c = 0; c < whole; c += Vec::kLanes) {
        const Vec difference = Vec::load(x + c) - mean;
        squares = fma(difference, difference, squares);
    }
    const Vec scale = Vec::all(1 / sqrtf(sum(squares) * share + kEpsilon));
    for (std::int64_t c = 0; c < width; c += Vec::kLanes) {
        ((Vec::load(x + c) - mean) * scale * Vec::load(weight + c)).store(out + c);
    }
}

// c += a b; the bias is to be in c already.
void apply(const Linear& linear, const float* a, std::int64_t a_stride, float* c, std::int64_t rows) {
    const std::int64_t stride = padded(linear.columns);
    multiply_add({a, a_stride, linear.panels, c, stride, rows, linear.depth, stride / kPanel});
}

void set_rows(const float* values, std::int64_t count, float* rows, std::int64_t number) {
    for (std::int64_t row = 0; row < number; ++row) {
        memcpy(rows + row * count, values, static_cast<std::size_t>(count) * sizeof(float));
    }
}

void add(const float* values, std::int64_t count, float* sums) {
    for (std::int64_t i = 0; i < count; i += Vec::kLanes)
        (Vec::load(sums + i) + Vec::load(values + i)).store(sums + i);
}

void copy(const float* from, std::int64_t count, float* to) {
    memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

// What the first convolution sees of one point, [kTaps, C] padded, the oldest frame first; moves its memory on.
// Memory is read before it is written, as it may be the same.
void see(const Block& block, const Network& n, const Memory& memory, const float* x, float* frames) {
    float *const older = frames, *const newer = older + padded(n.width), *const now = newer + padded(n.width);
    copy(memory.narrow, n.width, older);
    copy(memory.narrow + n.width, n.width, newer);
    normalize(x, block.norm_time, n.width, now);
    copy(newer, n.width, memory.next_narrow);
    copy(now, n.width, memory.next_narrow + n.width);
}

// Where the taps of channels i to i + kLanes are.
std::int64_t taps_at(std::int64_t i) {
    return i + (kTaps - 1) * (i / kPanel * kPanel);
}

// frames [kTaps, C] to g [H] padded.
void convolve_narrow(const Block& block, const Network& n, const float* frames, float* g) {
    const std::int64_t wide = n.wide, stride = padded(n.width);
    const float *const taps = block.up_taps, *const bias = block.up_bias;
    for (std::int64_t i = 0; i < wide; i += Vec::kLanes) {
        Vec sum = Vec::load(bias + i);
        for (int frame = 0; frame < kTaps; ++frame) {
            const Vec seen = Vec::load_fours(frames + frame * stride + i / kFactor);
            sum = fma(Vec::load(taps + taps_at(i) + frame * kPanel), seen, sum);
        }
        sum.store(g + i);
    }
}

// g [H] and the two frames before it to sums [C] padded; moves the memory of them on.
void convolve_wide(const Block& block, const Network& n, const Memory memory, const float* g, float* sums) {
    const std::int64_t wide = n.wide;
    const float *const out_taps = block.out_taps, *const bias = block.out_bias;
    for (std::int64_t i = 0; i < wide; i += Vec::kLanes) {
        const float *const older = memory.wide + i, *const newer = older + wide;
        float *const next_older = memory.next_wide + i, *const next_newer = next_older + wide;
        prefetch(older + memory.ahead);
        prefetch(newer + memory.ahead);
        const Vec now = Vec::load(g + i);
        Vec first, second;
        if (i + Vec::kLanes <= wide) {
            first = Vec::load(older), second = Vec::load(newer);
            second.store(next_older), now.store(next_newer);
        } else {
            const int rest = static_cast<int>(wide - i);
            first = Vec::load_first(older, rest), second = Vec::load_first(newer, rest);
            second.store_first(next_older, rest), now.store_first(next_newer, rest);
        }
        const float* const taps = out_taps + taps_at(i);
        Vec sum = fma(Vec::load(taps), first, Vec::load(bias + i));
        sum = fma(Vec::load(taps + kPanel), second, sum);
        fma(Vec::load(taps + 2 * kPanel), now, sum).store_fours(sums + i / kFactor);
    }
}

void mix_channels(const Block& block, const Network& n, float* x, const Workspace& work) {
    const std::int64_t stride = padded(n.width), hidden = work.rows * padded(n.wide);
    for (std::int64_t row = 0; row < work.rows; ++row) {
        normalize(x + row * stride, block.norm_channels, n.width, work.narrow + row * stride);
        add(block.down.bias, stride, x + row * stride);
    }
    set_rows(block.up.bias, padded(n.wide), work.wide, work.rows);
    apply(block.up, work.narrow, stride, work.wide, work.rows);
    apply_gelu(work.wide, hidden);
    apply(block.down, work.wide, padded(n.wide), x, work.rows);
}

Memory memory_of(const Problem& p, std::int64_t block, std::int64_t point) {
    const std::int64_t row = 2 * (block * p.points + point), width = p.network.width, wide = p.network.wide;
    return {p.narrow + row * width, p.wide + row * wide, p.next_narrow + row * width,
            p.next_wide + row * wide, point + 1 < p.points ? 2 * wide : 0};
}

std::int64_t rows_together(const Network& n, std::int64_t points) {
    const std::int64_t near = kNearFloats / (padded(n.width) + padded(n.wide) + 1);
    const std::int64_t most = near < kFewestRows         ? kFewestRows
                              : near > kMostRowsTogether ? kMostRowsTogether
                                                         : near;
    return points < most ? points : most;
}

// Calls `body(first, count)` for all rows, some at a time.
template <typename Body>
void in_batches(std::int64_t points, std::int64_t most, const Body& body) {
    for (std::int64_t row = 0; row < points; row += most)
        body(row, points - row < most ? points - row : most);
}

void mix(const Problem& p, std::int64_t begin, std::int64_t end) {
    const Network& n = p.network;
    const std::int64_t points = end - begin, most = rows_together(n, points);
    const std::int64_t stride = padded(n.width), outputs = padded(n.outputs);
    const std::int64_t hidden = padded(n.wide) > outputs ? padded(n.wide) : outputs;
    const std::int64_t size = (points + most + kTaps + 1) * stride + most * hidden;
    const Scratch scratch(size * static_cast<std::int64_t>(sizeof(float)));
    float* const x = static_cast<float*>(scratch.data);
    Workspace work = {};
    work.narrow = x + points * stride;
    work.frames = work.narrow + most * stride;
    work.sums = work.frames + kTaps * stride;
    work.wide = work.sums + stride;
    memset(work.frames, 0, static_cast<std::size_t>((kTaps + 1) * stride) * sizeof(float));

    const float* weights = n.weights;
    const Linear embed = take_linear(weights, n.inputs, n.width);
    set_rows(embed.bias, stride, x, points);
    apply(embed, p.x + begin * n.inputs, n.inputs, x, points);
    for (std::int64_t i = 0; i < n.blocks; ++i) {
        const Block block = take_block(weights, n);
        in_batches(points, most, [&](std::int64_t first, std::int64_t count) {
            work.rows = count;
            for (std::int64_t row = first; row < first + count; ++row) {
                const Memory memory = memory_of(p, i, begin + row);
                see(block, n, memory, x + row * stride, work.frames);
                convolve_narrow(block, n, work.frames, work.wide);
                apply_gelu(work.wide, padded(n.wide));
                convolve_wide(block, n, memory, work.wide, work.sums);
                add(work.sums, n.width, x + row * stride);
            }
            mix_channels(block, n, x + first * stride, work);
        });
    }
    const float* const norm = take(weights, stride);
    const Linear out = take_linear(weights, n.width, n.outputs);
    in_batches(points, most, [&](std::int64_t first, std::int64_t count) {
        for (std::int64_t row = 0; row < count; ++row) {
            normalize(x + (first + row) * stride, norm, n.width, work.narrow + row * stride);
        }
        set_rows(out.bias, outputs, work.wide, count);
        apply(out, work.narrow, stride, work.wide, count);
        for (std::int64_t row = 0; row < count; ++row) {
            copy(work.wide + row * outputs, n.outputs, p.out + (begin + first + row) * n.outputs);
        }
    });
}

Network network_of(const Call& call) {
    const Shape &narrow = call.inputs[1].shape, &wide = call.inputs[2].shape;
    return {call.inputs[0].shape.size[1], narrow.size[3], wide.size[3],
            call.attributes[0],           narrow.size[0], static_cast<const float*>(call.inputs[3].data)};
}

void output_sizes(const Call& call, std::int64_t* size) {
    const Network n = network_of(call);
    if (n.wide != kFactor * n.width) {
        fail("mixer: wide must have H = 4 C = %lld, got %lld", static_cast<long long>(kFactor * n.width),
             static_cast<long long>(n.wide));
    }
    const std::int64_t got = call.inputs[3].shape.size[0];
    if (got != floats_of(n)) {
        fail(
            "mixer: weights for F = %lld, C = %lld, B = %lld and O = %lld are %lld floats, got %lld; "
            "tapkernels.MixerWeights.pack makes them",
            static_cast<long long>(n.inputs), static_cast<long long>(n.width),
            static_cast<long long>(n.blocks), static_cast<long long>(n.outputs),
            static_cast<long long>(floats_of(n)), static_cast<long long>(got));
    }
    size['O' - 'A'] = n.outputs;
}

void run(const Call& call) {
    const Problem problem = {network_of(call),
                             static_cast<const float*>(call.inputs[0].data),
                             static_cast<const float*>(call.inputs[1].data),
                             static_cast<const float*>(call.inputs[2].data),
                             call.outputs[0],
                             call.outputs[1],
                             call.outputs[2],
                             call.inputs[0].shape.size[0]};
    const std::int64_t share = (problem.points + call.threads - 1) / call.threads;
    const std::int64_t grain = share < kFewestPoints ? kFewestPoints : share > kPiece ? kPiece : share;
    parallel_for(
        problem.points, grain, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            mix(*static_cast<const Problem*>(context), begin, end);
        },
        &problem);
}

}  // namespace

extern const Op mixer;
const Op mixer = {
    "mixer",
    {{"x", only(DType::float32), "NF", false},
     {"narrow", only(DType::float32), "BN2C", false},
     {"wide", only(DType::float32), "BN2H", false},
     {"weights", only(DType::float32), "W", false}},
    {{"outputs", 1, kMostNumbers}},
    {{"out", "NO", nullptr}, {"next_narrow", "BN2C", "narrow"}, {"next_wide", "BN2H", "wide"}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
