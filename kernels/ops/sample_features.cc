// Features of a grid at points between its cells.
//
//   grid      [H, W, C] float32   features of one frame
//   xy        [N, 2] float32      raster coordinates of the grid: (0, 0) is the outer corner of the top-left cell,
//                                 (W, H) that of the bottom-right one, a cell's centre is at +0.5
//   features  [N, C] float32      bilinear between the centres of the four cells around a point
//
// A point beyond the outermost centres, however far, has what is at the nearest place between them: a query on the
// edge of a frame is as long a vector as any other. Of a point whose x or y is NaN all features are NaN.
#include <math.h>

#include "../op.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

// A piece of work below this many multiplications is not worth waking a thread for.
constexpr std::int64_t kMinMultiplications = 1 << 18;

struct Problem {
    const float *grid, *xy;
    float* features;
    std::int64_t height, width, channels;
};

// Two neighbouring cells along an axis, and the share of the second one.
struct Place {
    std::int64_t first, second;
    float share;
};

// `position` is no NaN.
Place place(float position, std::int64_t size) {
    const float last = static_cast<float>(size - 1), centre = position - 0.5f;
    const float inside = centre < 0 ? 0 : centre > last ? last : centre;
    const float first = floorf(inside);
    const std::int64_t cell = static_cast<std::int64_t>(first);
    return {cell, cell + 1 < size ? cell + 1 : cell, inside - first};
}

void sample_point(const Problem& p, std::int64_t point) {
    const float x = p.xy[2 * point], y = p.xy[2 * point + 1];
    float* out = p.features + point * p.channels;
    if (x != x || y != y) {
        for (std::int64_t c = 0; c < p.channels; ++c) out[c] = NAN;
        return;
    }
    const Place across = place(x, p.width), down = place(y, p.height);
    const auto cell = [&](std::int64_t row, std::int64_t column) {
        return p.grid + (row * p.width + column) * p.channels;
    };
    const float *top_left = cell(down.first, across.first), *top_right = cell(down.first, across.second);
    const float *bottom_left = cell(down.second, across.first),
                *bottom_right = cell(down.second, across.second);
    const auto blend = [&](std::int64_t c) {
        const float top = top_left[c] * (1 - across.share) + top_right[c] * across.share;
        const float bottom = bottom_left[c] * (1 - across.share) + bottom_right[c] * across.share;
        return top * (1 - down.share) + bottom * down.share;
    };
    const Vec right = Vec::all(across.share), left = Vec::all(1 - across.share);
    const Vec below = Vec::all(down.share), above = Vec::all(1 - down.share);
    std::int64_t c = 0;
    for (; c + Vec::kLanes <= p.channels; c += Vec::kLanes) {
        const Vec top = Vec::load(top_left + c) * left + Vec::load(top_right + c) * right;
        const Vec bottom = Vec::load(bottom_left + c) * left + Vec::load(bottom_right + c) * right;
        (top * above + bottom * below).store(out + c);
    }
    for (; c < p.channels; ++c) out[c] = blend(c);
}

void output_sizes(const Call& call, std::int64_t*) {
    const Shape& grid = call.inputs[0].shape;
    if (grid.size[0] < 1 || grid.size[1] < 1) fail("sample_features: the grid has no cells");
}

void run(const Call& call) {
    const Shape& grid = call.inputs[0].shape;
    const Problem problem = {static_cast<const float*>(call.inputs[0].data),
                             static_cast<const float*>(call.inputs[1].data),
                             call.outputs[0],
                             grid.size[0],
                             grid.size[1],
                             grid.size[2]};
    parallel_for(
        call.inputs[1].shape.size[0], kMinMultiplications / (8 * problem.channels + 1) + 1, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            for (std::int64_t point = begin; point < end; ++point) {
                sample_point(*static_cast<const Problem*>(context), point);
            }
        },
        &problem);
}

}  // namespace

extern const Op sample_features;
const Op sample_features = {
    "sample_features",
    {{"grid", only(DType::float32), "HWC", false}, {"xy", only(DType::float32), "N2", false}},
    {},
    {{"features", "NC", nullptr}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
