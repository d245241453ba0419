// Pyramidal Lucas-Kanade: where small windows of one frame went in the next, with the way back as a check.
// (Lucas and Kanade 1981; the pyramid after Bouguet 2001.)
//
//   before, after  [H, W, 3] float32   two frames, RGB in [-1, 1]
//   xy             [N, 2] float32      pixels of `before`: (0, 0) is the outer corner of the top-left pixel
//   radius                             of the window in pixels
//   levels                             of the pyramid at most, each half as large as the one before
//   found          [N, 3] float32      x and y in `after`, and how far from its start, in pixels, a point ends
//                                      that is followed back from there; infinite where that says nothing,
//                                      because the point began or ended outside the frame
//
// The window is weighted by a Gaussian. All its samples share one fractional offset; frames go on with their
// outermost pixels beyond their edges.
#include <math.h>

#include "../op.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr int kMaxRadius = 15;
constexpr int kMaxLevels = 8;
constexpr int kMaxSide = 2 * kMaxRadius + 1;
constexpr std::int64_t kMinSide = 16;  // a level with a shorter side is the last one
constexpr int kIterations = 8;         // always, so that a little difference before makes a little one after
constexpr float kLongest = 2;          // pixels; no step is longer
constexpr float kFlat = 1e-3f;  // squared gradient of a window too flat to follow: it stays where it was
constexpr std::int64_t kGrain = 4;

struct Level {
    float* values;
    std::int64_t height, width;
};

struct Pyramid {
    Level levels[kMaxLevels];
    int count;
};

struct Problem {
    Pyramid before, after;
    const float* xy;
    float* found;
    int radius;
    float weights[kMaxSide * kMaxSide];
};

struct Point {
    float x, y;
};

std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
    return value < low ? low : value > high ? high : value;
}

// Sizes of the levels, without their memory.
Pyramid outline(std::int64_t height, std::int64_t width, int levels) {
    Pyramid pyramid = {};
    while (pyramid.count < levels) {
        pyramid.levels[pyramid.count++] = {nullptr, height, width};
        if (height < kMinSide || width < kMinSide) break;
        height = (height + 1) / 2;
        width = (width + 1) / 2;
    }
    return pyramid;
}

std::int64_t cells(const Pyramid& pyramid) {
    std::int64_t sum = 0;
    for (int i = 0; i < pyramid.count; ++i) sum += pyramid.levels[i].height * pyramid.levels[i].width;
    return sum;
}

void luminance(const float* rgb, const Level& level) {
    for (std::int64_t i = 0; i < level.height * level.width; ++i) {
        level.values[i] = 0.299f * rgb[3 * i] + 0.587f * rgb[3 * i + 1] + 0.114f * rgb[3 * i + 2];
    }
}

// Binomial filter along both axes, every second cell of it; `row` has room for a row of `from`.
void halve(const Level& from, const Level& to, float* row) {
    const auto binomial = [](float a, float b, float c, float d, float e) {
        return (a + e) * (1 / 16.0f) + (b + d) * 0.25f + c * 0.375f;
    };
    for (std::int64_t y = 0; y < to.height; ++y) {
        const float* rows[5];
        for (int k = 0; k < 5; ++k)
            rows[k] = from.values + clamp(2 * y + k - 2, 0, from.height - 1) * from.width;
        for (std::int64_t x = 0; x < from.width; ++x) {
            row[x] = binomial(rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x]);
        }
        for (std::int64_t x = 0; x < to.width; ++x) {
            const auto at = [&](std::int64_t offset) {
                return row[clamp(2 * x + offset, 0, from.width - 1)];
            };
            to.values[y * to.width + x] = binomial(at(-2), at(-1), at(0), at(1), at(2));
        }
    }
}

void fill(Pyramid& pyramid, const float* rgb, float* memory, float* row) {
    for (int i = 0; i < pyramid.count; ++i) {
        Level& level = pyramid.levels[i];
        level.values = memory;
        memory += level.height * level.width;
        if (i == 0) {
            luminance(rgb, level);
        } else {
            halve(pyramid.levels[i - 1], level, row);
        }
    }
}

// Bilinear samples at the point and `reach` cells around it, [2 reach + 1]^2.
void sample(const Level& level, Point at, int reach, float* out) {
    const int side = 2 * reach + 1;
    const float x_floor = floorf(at.x - 0.5f), y_floor = floorf(at.y - 0.5f);
    const float right = at.x - 0.5f - x_floor, below = at.y - 0.5f - y_floor;
    const std::int64_t left = static_cast<std::int64_t>(x_floor) - reach;
    const std::int64_t top = static_cast<std::int64_t>(y_floor) - reach;
    const bool is_inside = left >= 0 && left + side < level.width;
    float upper[kMaxSide + 3], lower[kMaxSide + 3], repeated[kMaxSide + 3];
    const auto blend_row = [&](std::int64_t y, float* blended) {
        const float* row = level.values + clamp(y, 0, level.height - 1) * level.width;
        if (!is_inside) {
            for (int i = 0; i <= side; ++i) repeated[i] = row[clamp(left + i, 0, level.width - 1)];
        }
        const float* cells = is_inside ? row + left : repeated;
        for (int i = 0; i < side; ++i) blended[i] = cells[i] * (1 - right) + cells[i + 1] * right;
    };
    blend_row(top, upper);
    for (int j = 0; j < side; ++j) {
        blend_row(top + j + 1, lower);
        for (int i = 0; i < side; ++i) {
            out[j * side + i] = upper[i] * (1 - below) + lower[i] * below;
            upper[i] = lower[i];
        }
    }
}

// The sum of the products of a and b.
float dot(const float* a, const float* b, int count) {
    Vec sums = Vec::zero();
    int i = 0;
    for (; i + Vec::kLanes <= count; i += Vec::kLanes) sums = fma(Vec::load(a + i), Vec::load(b + i), sums);
    if (i < count) sums = fma(Vec::load_first(a + i, count - i), Vec::load_first(b + i, count - i), sums);
    return sum(sums);
}

// The gradient of a window along an axis, from samples `around` it with rows of `framed`: less its mean, which
// makes any change of light that is the same all over the window drop out, and the same with weights.
void gradient(const float* around, int framed, int step, const Problem& p, float* plain, float* weighted) {
    const int side = framed - 2, count = side * side;
    for (int i = 0; i < count; ++i) {
        const float* at = around + (i / side + 1) * framed + i % side + 1;
        plain[i] = (at[step] - at[-step]) * 0.5f;
    }
    const float mean = dot(plain, p.weights, count);
    for (int i = 0; i < count; ++i) {
        plain[i] -= mean;
        weighted[i] = p.weights[i] * plain[i];
    }
}

// Where the window of `before` around `from` is in `after`, near `guess`: Gauss-Newton with the gradient of
// the window itself.
Point match(const Level& before, const Level& after, Point from, Point guess, const Problem& p) {
    const int side = 2 * p.radius + 1, framed = side + 2, count = side * side;
    float around[(kMaxSide + 2) * (kMaxSide + 2)], window[kMaxSide * kMaxSide];
    float along_x[kMaxSide * kMaxSide], along_y[kMaxSide * kMaxSide];
    float weighted_x[kMaxSide * kMaxSide], weighted_y[kMaxSide * kMaxSide];
    sample(before, from, p.radius + 1, around);
    for (int i = 0; i < count; ++i) window[i] = around[(i / side + 1) * framed + i % side + 1];
    gradient(around, framed, 1, p, along_x, weighted_x);
    gradient(around, framed, framed, p, along_y, weighted_y);
    const float xx = dot(along_x, weighted_x, count) + kFlat, yy = dot(along_y, weighted_y, count) + kFlat;
    const float xy = dot(along_x, weighted_y, count), scale = 1 / (xx * yy - xy * xy);

    float change[kMaxSide * kMaxSide];
    for (int iteration = 0; iteration < kIterations; ++iteration) {
        sample(after, guess, p.radius, change);
        for (int i = 0; i < count; ++i) change[i] = window[i] - change[i];
        const float pull_x = dot(change, weighted_x, count), pull_y = dot(change, weighted_y, count);
        float step_x = (yy * pull_x - xy * pull_y) * scale, step_y = (xx * pull_y - xy * pull_x) * scale;
        const float length = sqrtf(step_x * step_x + step_y * step_y);
        if (!(length < HUGE_VALF)) break;  // nor NaN, of pixels that are no numbers
        if (length > kLongest) {
            step_x *= kLongest / length;
            step_y *= kLongest / length;
        }
        guess.x += step_x;
        guess.y += step_y;
    }
    return guess;
}

Point follow(const Pyramid& before, const Pyramid& after, Point from, const Problem& p) {
    float moved_x = 0, moved_y = 0;
    for (int i = before.count - 1; i >= 0; --i) {
        const float scale = 1.0f / static_cast<float>(1 << i);
        // Of every two cells the first is kept, so it is the centre of the first one that stays in place.
        const Point start = {(from.x - 0.5f) * scale + 0.5f, (from.y - 0.5f) * scale + 0.5f};
        const Point end = match(before.levels[i], after.levels[i], start,
                                {start.x + moved_x * scale, start.y + moved_y * scale}, p);
        moved_x = (end.x - start.x) / scale;
        moved_y = (end.y - start.y) / scale;
    }
    return {from.x + moved_x, from.y + moved_y};
}

// In this form the test also catches NaN.
bool is_inside(Point at, const Level& level) {
    return at.x >= 0 && at.y >= 0 && at.x <= static_cast<float>(level.width) &&
           at.y <= static_cast<float>(level.height);
}

void follow_point(const Problem& p, std::int64_t point) {
    const Point start = {p.xy[2 * point], p.xy[2 * point + 1]};
    float* out = p.found + 3 * point;
    out[0] = start.x;
    out[1] = start.y;
    out[2] = HUGE_VALF;
    if (!is_inside(start, p.before.levels[0])) return;
    const Point end = follow(p.before, p.after, start, p);
    out[0] = end.x;
    out[1] = end.y;
    if (!is_inside(end, p.after.levels[0])) return;
    const Point back = follow(p.after, p.before, end, p);
    out[2] = sqrtf((back.x - start.x) * (back.x - start.x) + (back.y - start.y) * (back.y - start.y));
}

void set_weights(Problem& p) {
    const int side = 2 * p.radius + 1;
    const float spread = 2 / static_cast<float>(p.radius * p.radius);  // 1 / (2 sigma^2), sigma = radius / 2
    float sum = 0;
    for (int i = 0; i < side * side; ++i) {
        const float dx = static_cast<float>(i % side - p.radius),
                    dy = static_cast<float>(i / side - p.radius);
        p.weights[i] = expf(-spread * (dx * dx + dy * dy));
        sum += p.weights[i];
    }
    for (int i = 0; i < side * side; ++i) p.weights[i] /= sum;
}

void output_sizes(const Call& call, std::int64_t*) {
    const Shape& frame = call.inputs[0].shape;
    if (frame.size[0] < 1 || frame.size[1] < 1) fail("lucas_kanade: the frames have no pixels");
}

void run(const Call& call) {
    const Shape& frame = call.inputs[0].shape;
    const std::int64_t points = call.inputs[2].shape.size[0];
    if (points == 0) return;
    Problem problem = {};
    problem.before = problem.after =
        outline(frame.size[0], frame.size[1], static_cast<int>(call.attributes[1]));
    problem.xy = static_cast<const float*>(call.inputs[2].data);
    problem.found = call.outputs[0];
    problem.radius = static_cast<int>(call.attributes[0]);
    set_weights(problem);

    const std::int64_t count = cells(problem.before);
    const Scratch scratch((2 * count + frame.size[1]) * static_cast<std::int64_t>(sizeof(float)));
    float* memory = static_cast<float*>(scratch.data);
    float* row = memory + 2 * count;
    fill(problem.before, static_cast<const float*>(call.inputs[0].data), memory, row);
    fill(problem.after, static_cast<const float*>(call.inputs[1].data), memory + count, row);
    parallel_for(
        points, kGrain, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            for (std::int64_t point = begin; point < end; ++point) {
                follow_point(*static_cast<const Problem*>(context), point);
            }
        },
        &problem);
}

}  // namespace

extern const Op lucas_kanade;
const Op lucas_kanade = {
    "lucas_kanade",
    {{"before", only(DType::float32), "HW3", false},
     {"after", only(DType::float32), "HW3", false},
     {"xy", only(DType::float32), "N2", false}},
    {{"radius", 1, kMaxRadius}, {"levels", 1, kMaxLevels}},
    {{"found", "N3", nullptr}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
