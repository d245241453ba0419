// Local correlation: how well a query's feature matches a feature grid around a point.
//
//   grid    [H, W, C] float32   features of one frame
//   query   [N, C] float32      one feature per point
//   xy      [N, 2] float32      grid raster coordinates: (0, 0) is the outer corner of the top-left cell,
//                               (W, H) that of the bottom-right one, a cell's centre is at +0.5
//   radius                      of the neighbourhood, in cells
//   scores  [N, (2 radius + 1)^2] float32, row-major over (dy, dx) from -radius to radius
//
// A score is the dot product of the query with the bilinear sample of the grid at (x + dx, y + dy); a cell
// outside the grid counts as zero. All scores of a point whose x or y is not finite are zero.
//
// Sampling and the dot product are both linear, so they commute: dot the query with the (2 radius + 2)^2
// cells around the point first, and interpolate between the scores after. All samples of a point share one
// fractional offset, so that second step is one blend along x and one along y. For radius 3 this takes 64
// dot products where the direct form takes 49 samples of four cells each, and there is no [N, 49, C] array.
#include <math.h>

#include "../op.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr int kMaxRadius = 15;
constexpr int kMaxCells = 2 * kMaxRadius + 2;

// A piece of work below this many multiplications is not worth waking a thread for.
constexpr std::int64_t kMinMultiplications = 1 << 18;

struct Problem {
    const float *grid, *query, *xy;
    float* scores;
    std::int64_t height, width, channels;
    int radius;
};

std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
    return value < low ? low : value > high ? high : value;
}

// scores[i] = query . cells[i] for kCells neighbouring cells, which share every load of the query.
template <int kCells>
void dot_cells(const float* cells, const float* query, std::int64_t channels, float* scores) {
    Vec sums[kCells];
    for (Vec& each : sums) each = Vec::zero();
    std::int64_t c = 0;
    for (; c + Vec::kLanes <= channels; c += Vec::kLanes) {
        const Vec q = Vec::load(query + c);
        for (int i = 0; i < kCells; ++i) sums[i] = fma(Vec::load(cells + i * channels + c), q, sums[i]);
    }
    if (c < channels) {
        const int rest = static_cast<int>(channels - c);
        const Vec q = Vec::load_first(query + c, rest);
        for (int i = 0; i < kCells; ++i) {
            sums[i] = fma(Vec::load_first(cells + i * channels + c, rest), q, sums[i]);
        }
    }
    for (int i = 0; i < kCells; ++i) scores[i] = sum(sums[i]);
}

// The dot products with the cells x in [left, left + size), y in [top, top + size), zero outside the grid.
void correlate(const Problem& p, const float* query, std::int64_t left, std::int64_t top, int size,
               float scores[kMaxCells][kMaxCells]) {
    constexpr int kBlock = 4;
    const int x_begin = static_cast<int>(clamp(-left, 0, size));
    const int x_end = static_cast<int>(clamp(p.width - left, 0, size));
    for (int row = 0; row < size; ++row) {
        for (int i = 0; i < size; ++i) scores[row][i] = 0;
        const std::int64_t y = top + row;
        if (y < 0 || y >= p.height) continue;
        const float* cells = p.grid + y * p.width * p.channels;
        int i = x_begin;
        for (; i + kBlock <= x_end; i += kBlock) {
            dot_cells<kBlock>(cells + (left + i) * p.channels, query, p.channels, scores[row] + i);
        }
        for (; i < x_end; ++i) {
            dot_cells<1>(cells + (left + i) * p.channels, query, p.channels, scores[row] + i);
        }
    }
}

void correlate_point(const Problem& p, std::int64_t point) {
    const int samples = 2 * p.radius + 1;
    float* out = p.scores + point * samples * samples;
    const float x = p.xy[2 * point] - 0.5f;
    const float y = p.xy[2 * point + 1] - 0.5f;
    // In this form the test also catches NaN, and what passes it fits an integer.
    const float reach = static_cast<float>(p.radius + 1);
    const bool in_reach = x > -reach && y > -reach && x < static_cast<float>(p.width) + reach &&
                          y < static_cast<float>(p.height) + reach;
    if (!in_reach) {
        for (int i = 0; i < samples * samples; ++i) out[i] = 0;
        return;
    }
    const float x_floor = floorf(x);
    const float y_floor = floorf(y);
    float scores[kMaxCells][kMaxCells];
    correlate(p, p.query + point * p.channels, static_cast<std::int64_t>(x_floor) - p.radius,
              static_cast<std::int64_t>(y_floor) - p.radius, samples + 1, scores);

    const float right = x - x_floor, below = y - y_floor;
    for (int row = 0; row < samples; ++row) {
        for (int i = 0; i < samples; ++i) {
            const float upper = scores[row][i] * (1 - right) + scores[row][i + 1] * right;
            const float lower = scores[row + 1][i] * (1 - right) + scores[row + 1][i + 1] * right;
            out[row * samples + i] = upper * (1 - below) + lower * below;
        }
    }
}

void output_sizes(const Call& call, std::int64_t* size) {
    const std::int64_t samples = 2 * call.attributes[0] + 1;
    size['S' - 'A'] = samples * samples;
}

void run(const Call& call) {
    const Shape& grid = call.inputs[0].shape;
    const Problem problem = {static_cast<const float*>(call.inputs[0].data),
                             static_cast<const float*>(call.inputs[1].data),
                             static_cast<const float*>(call.inputs[2].data),
                             call.outputs[0],
                             grid.size[0],
                             grid.size[1],
                             grid.size[2],
                             static_cast<int>(call.attributes[0])};
    const std::int64_t cells = (2 * problem.radius + 2) * (2 * problem.radius + 2);
    const std::int64_t grain = kMinMultiplications / (cells * (problem.channels + 1)) + 1;
    parallel_for(
        call.inputs[1].shape.size[0], grain, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            for (std::int64_t point = begin; point < end; ++point) {
                correlate_point(*static_cast<const Problem*>(context), point);
            }
        },
        &problem);
}

}  // namespace

extern const Op local_correlation;
const Op local_correlation = {
    "local_correlation",
    {{"grid", only(DType::float32), "HWC", false},
     {"query", only(DType::float32), "NC", false},
     {"xy", only(DType::float32), "N2", false}},
    {{"radius", 0, kMaxRadius}},
    {{"scores", "NS", nullptr}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
