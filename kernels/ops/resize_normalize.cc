// Resize and normalise: a video frame to the input of a model.
//
//   image          [H, W, 3] uint8, or float32 in [0, 1]; any strides (crops, flips, BGR views)
//   height, width  of the output, in pixels
//   output         [height, width, 3] float32 in [-1, 1]: value / 255 * 2 - 1, or value * 2 - 1 of a float32
//
// The filter is a separable triangle. Enlarging, this is bilinear interpolation with pixel centres at +0.5;
// shrinking, the filter widens by the factor, so that every pixel counts (antialiasing). At the borders the
// filter is cut and its weights rescaled to sum 1. All this is as in torch.nn.functional.interpolate with
// mode="bilinear", antialias=True, align_corners=False. Where the sizes agree, pixels keep their exact value.
//
// Each output row is blended from the rows of the image that it covers (long, contiguous, wide vectors), then
// shrunk or stretched along x while it is still in the first-level cache.
#include <math.h>

#include "../op.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr int kChannels = 3;
constexpr std::int64_t kMaxSize = 1 << 16;
constexpr std::int64_t kFloat = sizeof(float);

// A piece of work below this many values of the image is not worth waking a thread for.
constexpr std::int64_t kMinValues = 1 << 17;

// The filter along one axis: output i is the sum over k < count[i] of
// weights[i * taps + k] * input[start[i] + k].
struct Filter {
    std::int64_t *start, *count;
    float* weights;
    std::int64_t taps;
};

std::int64_t filter_taps(std::int64_t from, std::int64_t to) {
    return 2 * ((from + to - 1) / to) + 1;
}

std::int64_t filter_bytes(std::int64_t from, std::int64_t to) {
    return to * (2 * static_cast<std::int64_t>(sizeof(std::int64_t)) + filter_taps(from, to) * kFloat);
}

double triangle(double x) {
    return 1 - fabs(x);
}

// Builds the filter in `memory`, which holds filter_bytes(from, to).
Filter make_filter(std::int64_t from, std::int64_t to, void* memory) {
    std::int64_t* const start = static_cast<std::int64_t*>(memory);
    const Filter filter = {start, start + to, reinterpret_cast<float*>(start + 2 * to),
                           filter_taps(from, to)};
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double support = scale > 1 ? scale : 1;
    for (std::int64_t i = 0; i < to; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
        const double below = floor(centre - support), above = ceil(centre + support);
        const std::int64_t begin = below < 0 ? 0 : static_cast<std::int64_t>(below) + 1;
        const std::int64_t end = above > static_cast<double>(from) ? from : static_cast<std::int64_t>(above);
        double total = 0;
        for (std::int64_t k = begin; k < end; ++k)
            total += triangle((static_cast<double>(k) - centre) / support);
        float* const weights = filter.weights + i * filter.taps;
        for (std::int64_t k = begin; k < end; ++k) {
            const double weight = triangle((static_cast<double>(k) - centre) / support);
            weights[k - begin] = static_cast<float>(weight / total);
        }
        filter.start[i] = begin;
        filter.count[i] = end - begin;
    }
    return filter;
}

struct Problem {
    const void* image;           // of the element type T of its users
    std::int64_t row_stride;     // in elements; the pixels of a row are dense
    std::int64_t height, width;  // of the image
    Filter down, across;
    std::int64_t out_height, out_width;
    float* output;
    float divisor;  // output = value / divisor - 1
};

// out[i] = sum over k < count of weights[k] * rows[k * stride + i]
template <typename T>
void blend_rows(const T* rows, std::int64_t stride, const float* weights, std::int64_t count,
                std::int64_t length, float* out) {
    constexpr int kBlock = 4;
    std::int64_t i = 0;
    for (; i + kBlock * Vec::kLanes <= length; i += kBlock * Vec::kLanes) {
        Vec sums[kBlock];
        for (Vec& each : sums) each = Vec::zero();
        for (std::int64_t k = 0; k < count; ++k) {
            const Vec weight = Vec::all(weights[k]);
            const T* p = rows + k * stride + i;
            for (int b = 0; b < kBlock; ++b) sums[b] = fma(Vec::load(p + b * Vec::kLanes), weight, sums[b]);
        }
        for (int b = 0; b < kBlock; ++b) sums[b].store(out + i + b * Vec::kLanes);
    }
    for (; i < length; ++i) {
        float value = 0;
        for (std::int64_t k = 0; k < count; ++k) {
            value += weights[k] * static_cast<float>(rows[k * stride + i]);
        }
        out[i] = value;
    }
}

// Resamples the pixels of one row. Four floats are taken at a time, because four fill a register: the last
// one belongs to the next pixel and is dropped, so `row` has a float more than its pixels need.
void resample_row(const float* row, const Filter& filter, std::int64_t out_width, float* out) {
    for (std::int64_t x = 0; x < out_width; ++x) {
        const float* pixels = row + filter.start[x] * kChannels;
        const float* weights = filter.weights + x * filter.taps;
        float sum[4] = {};
        for (std::int64_t k = 0; k < filter.count[x]; ++k) {
            for (int c = 0; c < 4; ++c) sum[c] += weights[k] * pixels[k * kChannels + c];
        }
        for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = sum[c];
    }
}

void normalize(float* values, std::int64_t count, float divisor) {
    std::int64_t i = 0;
    for (; i + Vec::kLanes <= count; i += Vec::kLanes) {
        (Vec::load(values + i) / Vec::all(divisor) - Vec::all(1)).store(values + i);
    }
    for (; i < count; ++i) values[i] = values[i] / divisor - 1;
}

template <typename T>
void resize_rows(const void* context, std::int64_t begin, std::int64_t end) {
    const Problem& p = *static_cast<const Problem*>(context);
    const std::int64_t length = p.width * kChannels;
    const Scratch scratch((length + 1) * kFloat);
    float* const row = static_cast<float*>(scratch.data);
    row[length] = 0;
    for (std::int64_t y = begin; y < end; ++y) {
        const T* rows = static_cast<const T*>(p.image) + p.down.start[y] * p.row_stride;
        blend_rows(rows, p.row_stride, p.down.weights + y * p.down.taps, p.down.count[y], length, row);
        float* const out = p.output + y * p.out_width * kChannels;
        resample_row(row, p.across, p.out_width, out);
        normalize(out, p.out_width * kChannels, p.divisor);
    }
}

template <typename T>
struct Packing {
    const Tensor* image;
    T* dense;
};

template <typename T>
void pack_rows(const void* context, std::int64_t begin, std::int64_t end) {
    const Packing<T>& packing = *static_cast<const Packing<T>*>(context);
    const std::int64_t* strides = packing.image->strides;
    const std::int64_t width = packing.image->shape.size[1];
    for (std::int64_t y = begin; y < end; ++y) {
        const T* row = static_cast<const T*>(packing.image->data) + y * strides[0];
        T* out = packing.dense + y * width * kChannels;
        for (std::int64_t x = 0; x < width; ++x) {
            for (int c = 0; c < kChannels; ++c) out[x * kChannels + c] = row[x * strides[1] + c * strides[2]];
        }
    }
}

bool has_dense_rows(const Tensor& image) {
    return image.strides[2] == 1 && (image.strides[1] == kChannels || image.shape.size[1] == 1);
}

template <typename T>
void resize(const Call& call, Problem problem) {
    const Tensor& image = call.inputs[0];
    const std::int64_t length = problem.width * kChannels;
    const bool dense = has_dense_rows(image);
    const Scratch copy(dense ? 0 : problem.height * length * static_cast<std::int64_t>(sizeof(T)));
    if (!dense) {
        const Packing<T> packing = {&image, static_cast<T*>(copy.data)};
        parallel_for(problem.height, kMinValues / length + 1, call.threads, pack_rows<T>, &packing);
        problem.image = copy.data;
        problem.row_stride = length;
    }
    const std::int64_t values_per_row = length * (problem.height / problem.out_height + 1);
    parallel_for(problem.out_height, kMinValues / values_per_row + 1, call.threads, resize_rows<T>, &problem);
}

void output_sizes(const Call& call, std::int64_t* size) {
    const Shape& image = call.inputs[0].shape;
    if (image.size[0] == 0 || image.size[1] == 0) {
        fail("resize_normalize: image must have at least one row and one column, got %lld x %lld",
             static_cast<long long>(image.size[0]), static_cast<long long>(image.size[1]));
    }
    size['Y' - 'A'] = call.attributes[0];
    size['X' - 'A'] = call.attributes[1];
}

void run(const Call& call) {
    const Tensor& image = call.inputs[0];
    const std::int64_t height = image.shape.size[0], width = image.shape.size[1];
    const std::int64_t out_height = call.attributes[0], out_width = call.attributes[1];
    const Scratch down(filter_bytes(height, out_height)), across(filter_bytes(width, out_width));
    const bool bytes = image.dtype == DType::uint8;
    const Problem problem = {image.data,
                             image.strides[0],
                             height,
                             width,
                             make_filter(height, out_height, down.data),
                             make_filter(width, out_width, across.data),
                             out_height,
                             out_width,
                             call.outputs[0],
                             bytes ? 127.5f : 0.5f};
    bytes ? resize<std::uint8_t>(call, problem) : resize<float>(call, problem);
}

}  // namespace

extern const Op resize_normalize;
const Op resize_normalize = {
    "resize_normalize",
    {{"image", DType::uint8 | DType::float32, "HW3", true}},
    {{"height", 1, kMaxSize}, {"width", 1, kMaxSize}},
    {{"resized", "YX3", nullptr}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
