// Where points are in a frame: TAPIR's cost volume and the head that reads it (Doersch et al. 2023,
// arXiv:2306.08637), a point at a time.
//
//   grid      [H, W, C] float32   features of the frame
//   features  [N, C] float32      one per point
//   previous  [M, 2] float32      where the points were in the frame before, in raster coordinates of the grid:
//                                 (0, 0) is the outer corner of the top-left cell, a cell's centre is at +0.5;
//                                 M is N, or 0 where nothing is known of that
//   the rest                      weights of the head, as torch.nn keeps them, of S shared channels; `peak` holds
//                                 the temperature of the softmax and the weight of the motion prior
//   xy        [N, 2] float32      where they are, in the same coordinates
//   logits    [N, L] float32      what the head says of them (occlusion, expected distance)
//
//   scores   = features . grid                                            [H, W] of a point
//   shared   = relu(conv3x3(scores))                                      [H, W, S], zeros around the scores
//   heatmap  = temperature conv3x3(shared) - prior log(1 + distance^2)    [H, W], of a cell's centre to `previous`
//   xy       = the mean cell centre under softmax(heatmap), over the cells less than 5 from the largest one
//   pooled   = the mean over cells of relu(conv3x3(shared) at every second cell)
//   logits   = linear(relu(linear(pooled)))
//
// Scores are a matrix product of a few points at a time. Then each point by itself: of its shared channels five rows
// are kept, and whatever needs some of them is computed when they are there; so a thread needs the scores of a few
// points and little else. Sums are added up in an order that the shape of the grid alone decides: a point's numbers
// do not depend on other points.
//
// A heatmap that is not finite all over, as NaN makes it, has no largest cell: xy is NaN then.
#include <math.h>

#include "../convolve.h"
#include "../matmul.h"
#include "../op.h"
#include "../pooled_convolution.h"
#include "../simd.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr int kReach = 5;   // cells; those nearer to the peak are averaged
constexpr int kGroup = 24;  // points whose scores are computed together
constexpr int kRows = 5;    // of the shared channels of a point, that are kept

// A piece of work below this many multiplications is not worth waking a thread for.
constexpr std::int64_t kMinMultiplications = 1 << 18;

enum : int {
    kGrid,
    kFeatures,
    kPrevious,
    kSharedWeight,
    kSharedBias,
    kHeatmapWeight,
    kOcclusionWeight,
    kOcclusionBias,
    kHiddenWeight,
    kHiddenBias,
    kOutWeight,
    kOutBias,
    kPeak
};

// Weights in panels of outputs: [outputs / kPanel][terms][kPanel]. Channels that there are not, up to whole panels,
// have zeros.
struct Head {
    float *shared, *shared_bias, *heatmap, *occlusion, *occlusion_bias, *hidden, *hidden_bias, *out,
        *out_bias;
};

struct Problem {
    Tensor features;
    const float* previous;  // null where there are none
    float *xy, *logits;
    std::int64_t height, width, channels, panels;
    std::int64_t row_cells;                           // of a row of shared channels, with those around it
    std::int64_t shared, occlusion, hidden, outputs;  // channels, in whole panels
    std::int64_t logit_count;
    float prior;
    float* grid;  // [panels][channels][kPanel]
    Head head;
};

// What a thread works in.
struct Workplace {
    PooledConvolution pooling;
    float *features, *scores, *map, *rows, *heatmap, *across, *pooled, *hidden, *out;
};

// Hands out pieces of a Scratch, each at an address that suits a Vec; without memory it only counts.
struct Shelf {
    float* memory;
    std::int64_t used;

    float* take(std::int64_t count) {
        float* piece = memory ? memory + used : nullptr;
        used += (count + 15) / 16 * 16;
        return piece;
    }
};

std::int64_t whole_vecs(std::int64_t count) {
    return (count + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes;
}

// Scores of `count` points from `first` on, [point][panels * kPanel], into w.scores.
void score(const Problem& p, std::int64_t first, int count, const Workplace& w) {
    for (int i = 0; i < count; ++i) {
        const float* from = static_cast<const float*>(p.features.data) + (first + i) * p.features.strides[0];
        for (std::int64_t c = 0; c < p.channels; ++c) {
            w.features[i * p.channels + c] = from[c * p.features.strides[1]];
        }
    }
    fill(w.scores, count * p.panels * kPanel, 0);
    multiply_add({w.features, p.channels, p.grid, w.scores, p.panels * kPanel, count, p.channels, p.panels});
}

// The row of w.rows that holds row y of the shared channels, from its first cell on; around it there are cells of
// zeros, as many as anything looks at.
float* shared_row(const Problem& p, const Workplace& w, std::int64_t y) {
    return w.rows + ((y + kRows) % kRows * p.row_cells + 1) * p.shared;
}

void compute_shared(const Problem& p, const Workplace& w, std::int64_t y) {
    float* row = shared_row(p, w, y);
    if (y >= p.height) {
        fill(row, p.width * p.shared, 0);
        return;
    }
    const float* scores = w.map + y * (p.width + 2);
    for (std::int64_t channel = 0; channel < p.shared; channel += kPanel) {
        const Convolution convolution = {{scores, scores + p.width + 2, scores + 2 * (p.width + 2)},
                                         3,
                                         3,
                                         1,
                                         p.head.shared + 9 * channel,
                                         p.head.shared_bias + channel};
        convolve<3, 1>(convolution, p.width, [&](std::int64_t x, int lane, Vec sum) {
            relu(sum).store(row + x * p.shared + channel + lane);
        });
    }
}

// Row y of the heatmap; `nearness` is 1 + the squared distance of its cells from `previous` along y. kShared: shared
// channels, 0 if of any number.
template <int kShared>
void compute_heatmap(const Problem& p, const Workplace& w, std::int64_t y, float nearness) {
    const std::int64_t step = kShared ? kShared : p.shared;
    const float* rows[3];
    for (int i = 0; i < 3; ++i) rows[i] = shared_row(p, w, y + i - 1) - p.shared;
    float* heatmap = w.heatmap + y * whole_vecs(p.width);
    for (std::int64_t x = 0; x < p.width; x += Vec::kLanes) {
        Vec parts[Vec::kLanes];
        TAPKERNELS_UNROLL
        for (int i = 0; i < Vec::kLanes; ++i) parts[i] = Vec::zero();
        for (std::int64_t channel = 0; channel < p.shared; channel += Vec::kLanes) {
            const float* weights = p.head.heatmap + channel / kPanel * 9 * kPanel + channel % kPanel;
            for (const float* row : rows) {
                const float* input = row + x * step + channel;
                TAPKERNELS_UNROLL
                for (int k = 0; k < 3; ++k, input += step, weights += kPanel) {
                    const Vec weight = Vec::load(weights);
                    TAPKERNELS_UNROLL
                    for (int i = 0; i < Vec::kLanes; ++i) {
                        parts[i] = fma(Vec::load(input + i * step), weight, parts[i]);
                    }
                }
            }
        }
        Vec found = sums(parts);
        if (p.previous) {
            found = found - Vec::all(p.prior) * log(Vec::load(w.across + x) + Vec::all(nearness));
        }
        found.store(heatmap + x);
    }
    // Lanes without a cell become one that counts already.
    for (std::int64_t x = p.width; x < whole_vecs(p.width); ++x) heatmap[x] = heatmap[0];
}

// The mean cell centre around the peak.
void find_peak(const Problem& p, const Workplace& w, float* xy) {
    const std::int64_t width = whole_vecs(p.width), cells = p.height * width;
    Vec most = Vec::load(w.heatmap), unsound = Vec::zero();
    for (std::int64_t i = 0; i < cells; i += Vec::kLanes) {
        const Vec each = Vec::load(w.heatmap + i);
        most = max(each, most);
        unsound = unsound + (each - each);
    }
    xy[0] = xy[1] = NAN;
    if (!(sum(unsound) == 0)) return;
    const float peak = highest(most);
    // Where several cells are the largest, the first column and the first row that have one.
    std::int64_t peak_x = p.width, peak_y = p.height;
    for (std::int64_t y = 0; y < p.height; ++y) {
        const float* row = w.heatmap + y * width;
        Vec row_most = Vec::load(row);
        for (std::int64_t x = 0; x < width; x += Vec::kLanes) row_most = max(Vec::load(row + x), row_most);
        if (highest(row_most) < peak) continue;
        if (peak_y == p.height) peak_y = y;
        for (std::int64_t x = 0; x < peak_x; ++x) {
            if (row[x] == peak) peak_x = x;
        }
    }
    float total = 0, along_x = 0, along_y = 0;
    for (std::int64_t dy = 1 - kReach; dy < kReach; ++dy) {
        const std::int64_t y = peak_y + dy;
        if (y < 0 || y >= p.height) continue;
        for (std::int64_t dx = 1 - kReach; dx < kReach; ++dx) {
            const std::int64_t x = peak_x + dx;
            if (x < 0 || x >= p.width || dx * dx + dy * dy >= kReach * kReach) continue;
            const float share = expf(w.heatmap[y * width + x] - peak);
            total += share;
            along_x += share * static_cast<float>(dx);
            along_y += share * static_cast<float>(dy);
        }
    }
    xy[0] = static_cast<float>(peak_x) + 0.5f + along_x / total;
    xy[1] = static_cast<float>(peak_y) + 0.5f + along_y / total;
}

// out [panels * kPanel] = bias + in times weights, in panels.
void connect(const float* in, std::int64_t inputs, const float* weights, const float* bias,
             std::int64_t outputs, float* out) {
    for (std::int64_t i = 0; i < outputs; ++i) out[i] = bias[i];
    multiply_add({in, inputs, weights, out, outputs, 1, inputs, outputs / kPanel});
}

void say(const Problem& p, const Workplace& w, float* logits) {
    const float cells = static_cast<float>((p.width + 1) / 2 * ((p.height + 1) / 2));
    for (std::int64_t i = 0; i < p.occlusion; ++i) w.pooled[i] /= cells;
    connect(w.pooled, p.occlusion, p.head.hidden, p.head.hidden_bias, p.hidden, w.hidden);
    for (std::int64_t i = 0; i < p.hidden; i += Vec::kLanes)
        relu(Vec::load(w.hidden + i)).store(w.hidden + i);
    connect(w.hidden, p.hidden, p.head.out, p.head.out_bias, p.outputs, w.out);
    for (std::int64_t i = 0; i < p.logit_count; ++i) logits[i] = w.out[i];
}

// Adds what the occlusion's convolution gives of rows y to y + 4 to w.pooled.
void pool_rows(const Problem& p, const Workplace& w, std::int64_t y) {
    const float* rows[kRows];
    for (int i = 0; i < kRows; ++i) rows[i] = shared_row(p, w, y + i);
    (p.shared == 16 ? pool<16> : pool<0>)(w.pooling, rows, y + 2 < p.height, w.pooled);
}

void track(const Problem& p, std::int64_t point, const float* scores, const Workplace& w) {
    for (std::int64_t y = 0; y < p.height; ++y) {
        float* row = w.map + (y + 1) * (p.width + 2) + 1;
        for (std::int64_t x = 0; x < p.width; ++x) row[x] = scores[y * p.width + x];
    }
    float previous_y = 0;
    if (p.previous) {
        previous_y = p.previous[2 * point + 1];
        for (std::int64_t x = 0; x < p.width; ++x) {
            const float distance = static_cast<float>(x) + 0.5f - p.previous[2 * point];
            w.across[x] = distance * distance;
        }
    }
    fill(w.pooled, p.occlusion, 0);
    fill(shared_row(p, w, -1), p.width * p.shared, 0);
    for (std::int64_t y = 0; y <= p.height || y % 4 != 1; ++y) {
        compute_shared(p, w, y);
        if (y >= 1 && y <= p.height) {
            const float distance = static_cast<float>(y) - 0.5f - previous_y;
            (p.shared == 16 ? compute_heatmap<16> : compute_heatmap<0>)(p, w, y - 1, 1 + distance * distance);
        }
        if (y >= 4 && y % 4 == 0) pool_rows(p, w, y - 4);
    }
    find_peak(p, w, p.xy + 2 * point);
    say(p, w, p.logits + point * p.logit_count);
}

PooledConvolution pooling_of(const Problem& p) {
    return {p.shared,         p.occlusion,           (p.width + 1) / 2, (p.width + 3) / 4,
            p.head.occlusion, p.head.occlusion_bias, nullptr,           nullptr};
}

Workplace furnish(const Problem& p, Shelf& shelf) {
    Workplace w = {};
    w.features = shelf.take(kGroup * p.channels);
    w.scores = shelf.take(kGroup * p.panels * kPanel);
    w.map = shelf.take((p.height + 2) * (p.width + 2));
    // With as many cells behind them as a Vec of heatmap looks at in vain.
    w.rows = shelf.take((kRows * p.row_cells + Vec::kLanes) * p.shared);
    w.pooling = pooling_of(p);
    w.pooling.differences = shelf.take(differences_size(w.pooling));
    w.pooling.groups = shelf.take(groups_size(w.pooling));
    w.heatmap = shelf.take(p.height * whole_vecs(p.width));
    w.across = shelf.take(whole_vecs(p.width));
    w.pooled = shelf.take(p.occlusion);
    w.hidden = shelf.take(p.hidden);
    w.out = shelf.take(p.outputs);
    return w;
}

void track_points(const Problem& p, std::int64_t begin, std::int64_t end) {
    Shelf counted = {};
    furnish(p, counted);
    const Scratch scratch(counted.used * static_cast<std::int64_t>(sizeof(float)));
    Shelf shelf = {static_cast<float*>(scratch.data), 0};
    fill(shelf.memory, counted.used, 0);
    const Workplace w = furnish(p, shelf);
    for (std::int64_t first = begin; first < end; first += kGroup) {
        const int count = static_cast<int>(end - first < kGroup ? end - first : kGroup);
        score(p, first, count, w);
        for (int i = 0; i < count; ++i) track(p, first + i, w.scores + i * p.panels * kPanel, w);
    }
}

const float* input(const Call& call, int which) {
    return static_cast<const float*>(call.inputs[which].data);
}

// [outputs][inputs][taps] to panels [outputs / kPanel][taps][inputs][kPanel], times `scale`; `wide` inputs of which
// the last may be missing.
struct Layer {
    int which;
    std::int64_t outputs, inputs, taps, wide;
    float scale;
};

float* pack_layer(const Call& call, const Layer& layer, Shelf& shelf) {
    const std::int64_t count = whole_panels(layer.outputs) * layer.taps * layer.wide;
    float* to = shelf.take(count);
    if (!to) return to;
    fill(to, count, 0);
    const float* from = input(call, layer.which);
    for (std::int64_t o = 0; o < layer.outputs; ++o) {
        for (std::int64_t i = 0; i < layer.inputs; ++i) {
            for (std::int64_t t = 0; t < layer.taps; ++t) {
                const std::int64_t term = (o / kPanel * layer.taps + t) * layer.wide + i;
                to[term * kPanel + o % kPanel] = from[(o * layer.inputs + i) * layer.taps + t] * layer.scale;
            }
        }
    }
    return to;
}

float* pack_strided(const Call& call, std::int64_t inputs, std::int64_t outputs, Shelf& shelf) {
    float* to = shelf.take(pooled_weights_size(inputs, outputs));
    if (to) pack_pooled(input(call, kOcclusionWeight), inputs, outputs, to);
    return to;
}

Head pack_head(const Call& call, const Problem& p, Shelf& shelf) {
    const std::int64_t shared = call.inputs[kSharedBias].shape.size[0];
    const std::int64_t occlusion = call.inputs[kOcclusionBias].shape.size[0];
    const std::int64_t hidden = call.inputs[kHiddenBias].shape.size[0];
    const auto pack = [&](const Layer& layer) { return pack_layer(call, layer, shelf); };
    return {pack({kSharedWeight, shared, 1, 9, 1, 1}),
            pack({kSharedBias, shared, 1, 1, 1, 1}),
            pack({kHeatmapWeight, shared, 1, 9, 1, input(call, kPeak)[0]}),
            pack_strided(call, shared, occlusion, shelf),
            pack({kOcclusionBias, occlusion, 1, 1, 1, 1}),
            pack({kHiddenWeight, hidden, occlusion, 1, p.occlusion, 1}),
            pack({kHiddenBias, hidden, 1, 1, 1, 1}),
            pack({kOutWeight, p.logit_count, hidden, 1, p.hidden, 1}),
            pack({kOutBias, p.logit_count, 1, 1, 1, 1})};
}

// Panels of cells, [channels][kPanel] each; cells that there are not are zeros.
void pack_grid(const Problem& p, const float* grid, std::int64_t begin, std::int64_t end) {
    const std::int64_t cells = p.height * p.width;
    for (std::int64_t panel = begin; panel < end; ++panel) {
        float* to = p.grid + panel * p.channels * kPanel;
        const std::int64_t first = panel * kPanel, count = cells - first < kPanel ? cells - first : kPanel;
        if (count < kPanel) fill(to, p.channels * kPanel, 0);
        for (std::int64_t c = 0; c < p.channels; ++c) {
            for (std::int64_t i = 0; i < count; ++i) to[c * kPanel + i] = grid[(first + i) * p.channels + c];
        }
    }
}

void output_sizes(const Call& call, std::int64_t*) {
    const Shape &grid = call.inputs[kGrid].shape, &features = call.inputs[kFeatures].shape;
    if (grid.size[0] < 1 || grid.size[1] < 1) fail("cost_volume_track: the grid has no cells");
    const std::int64_t known = call.inputs[kPrevious].shape.size[0];
    if (known != 0 && known != features.size[0]) {
        fail("cost_volume_track: previous must have as many rows as features, %lld, or none, got %lld",
             static_cast<long long>(features.size[0]), static_cast<long long>(known));
    }
}

void run(const Call& call) {
    const Shape& grid = call.inputs[kGrid].shape;
    const std::int64_t points = call.inputs[kFeatures].shape.size[0];
    if (points == 0) return;
    Problem p = {};
    p.features = call.inputs[kFeatures];
    p.previous = call.inputs[kPrevious].shape.size[0] ? input(call, kPrevious) : nullptr;
    p.xy = call.outputs[0];
    p.logits = call.outputs[1];
    p.height = grid.size[0];
    p.width = grid.size[1];
    p.channels = grid.size[2];
    p.panels = whole_panels(p.height * p.width) / kPanel;
    p.shared = whole_panels(call.inputs[kSharedBias].shape.size[0]);
    p.occlusion = whole_panels(call.inputs[kOcclusionBias].shape.size[0]);
    p.hidden = whole_panels(call.inputs[kHiddenBias].shape.size[0]);
    const std::int64_t looked_at = row_cells(pooling_of(p));
    p.row_cells = 1 + (p.width + 1 > looked_at ? p.width + 1 : looked_at);
    p.logit_count = call.inputs[kOutBias].shape.size[0];
    p.outputs = whole_panels(p.logit_count);
    p.prior = input(call, kPeak)[1];

    Shelf counted = {};
    pack_head(call, p, counted);
    counted.take(p.panels * p.channels * kPanel);
    const Scratch scratch(counted.used * static_cast<std::int64_t>(sizeof(float)));
    Shelf shelf = {static_cast<float*>(scratch.data), 0};
    p.head = pack_head(call, p, shelf);
    p.grid = shelf.take(p.panels * p.channels * kPanel);

    struct Packing {
        const Problem& problem;
        const float* grid;
    } const packing = {p, input(call, kGrid)};
    parallel_for(
        p.panels, kMinMultiplications / (p.channels * kPanel + 1) + 1, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            const Packing& each = *static_cast<const Packing*>(context);
            pack_grid(each.problem, each.grid, begin, end);
        },
        &packing);
    const std::int64_t cost = p.height * p.width * (p.channels + p.shared * (18 + 3 * p.occlusion)) + 1;
    parallel_for(
        points, kMinMultiplications / cost + 1, call.threads,
        [](const void* context, std::int64_t begin, std::int64_t end) {
            track_points(*static_cast<const Problem*>(context), begin, end);
        },
        &p);
}

}  // namespace

extern const Op cost_volume_track;
const Op cost_volume_track = {
    "cost_volume_track",
    {{"grid", only(DType::float32), "HWC", false},
     {"features", only(DType::float32), "NC", true},
     {"previous", only(DType::float32), "M2", false},
     {"shared_weight", only(DType::float32), "S133", false},
     {"shared_bias", only(DType::float32), "S", false},
     {"heatmap_weight", only(DType::float32), "1S33", false},
     {"occlusion_conv_weight", only(DType::float32), "OS33", false},
     {"occlusion_conv_bias", only(DType::float32), "O", false},
     {"occlusion_hidden_weight", only(DType::float32), "DO", false},
     {"occlusion_hidden_bias", only(DType::float32), "D", false},
     {"occlusion_out_weight", only(DType::float32), "LD", false},
     {"occlusion_out_bias", only(DType::float32), "L", false},
     {"peak", only(DType::float32), "2", false}},
    {},
    {{"xy", "N2", nullptr}, {"logits", "NL", nullptr}},
    output_sizes,
    run,
};

}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
