// `pool`: a convolution of 3x3 and stride 2, a relu, and the sum over all cells, with 25 products for 36.
#pragma once

#include "convolve.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

// A convolution of stride 2 goes by twos, along x and along y. Two outputs of one axis take three of its weights
// a, b, c with five inputs r s t u v, and of these the even ones as in Winograd's F(2, 2):
//
//     r a + s b + t c = [(r - t) a + s b] + [t (a + c)]
//     t a + u b + v c =                     [t (a + c)] + [u b - (t - v) c]
//
// The brackets are three groups of five terms, five products for the six of the definition; with both axes there
// are 25 for 36. Terms are numbered from 0; term 0 and 4 take differences of inputs, the others inputs themselves.
constexpr int kTerms = 5, kGroups = 3;
constexpr int kFirstTerm[kGroups + 1] = {0, 2, 3, 5};
constexpr float kShareOfTap[kTerms][3] = {{1, 0, 0}, {0, 1, 0}, {1, 0, 1}, {0, 1, 0}, {0, 0, -1}};

inline bool is_difference(int term) {
    return term == 0 || term == 4;
}

// to = a - b, of whole panels.
inline void subtract(const float* a, const float* b, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; i += Vec::kLanes) (Vec::load(a + i) - Vec::load(b + i)).store(to + i);
}

// A convolution of 3x3 and stride 2 of rows of cells, of which the sum over all cells is wanted, after a relu.
struct PooledConvolution {
    std::int64_t inputs, outputs;  // channels, in whole panels
    std::int64_t cells;            // outputs in a row
    std::int64_t tiles;            // pairs of these
    const float *weights, *bias;   // as `pack_pooled` makes them
    float *differences, *groups;   // room for `differences_size` and `groups_size` floats
};

// Cells that a row of inputs must have from its first one on; behind those that there are, zeros.
inline std::int64_t row_cells(const PooledConvolution& c) {
    return 4 * c.tiles + 1;
}

inline std::int64_t differences_size(const PooledConvolution& c) {
    return (2 + kTerms) * row_cells(c) * c.inputs;
}

inline std::int64_t groups_size(const PooledConvolution& c) {
    return kGroups * kGroups * c.tiles * kPanel;
}

inline std::int64_t pooled_weights_size(std::int64_t inputs, std::int64_t outputs) {
    return whole_panels(outputs) * kTerms * kTerms * whole_panels(inputs);
}

// Inputs of the terms along y, and of those along x that are differences: of a cell and the next but one.
struct Terms {
    const float *plain[kTerms], *stepped[kTerms];
};

inline Terms prepare(const PooledConvolution& c, const float* const (&rows)[kTerms]) {
    const std::int64_t size = row_cells(c) * c.inputs;
    Terms terms = {};
    for (int term = 0; term < kTerms; ++term) {
        terms.plain[term] = rows[term];
        if (is_difference(term)) {
            float* to = c.differences + (term == 0 ? 0 : size);
            const int above = term == 0 ? 0 : 2;
            subtract(rows[above], rows[above + 2], size, to);
            terms.plain[term] = to;
        }
        float* to = c.differences + (2 + term) * size;
        for (std::int64_t x = 0; x < 4 * c.tiles; x += 2) {
            const float* cell = terms.plain[term] + x * c.inputs;
            subtract(cell, cell + 2 * c.inputs, c.inputs, to + x * c.inputs);
        }
        terms.stepped[term] = to;
    }
    return terms;
}

// Adds the four outputs of tile t of a row to `pooled`, as far as they are there.
inline void gather(const PooledConvolution& c, std::int64_t t, bool has_second_row, float* pooled) {
    const bool has_second = 2 * t + 1 < c.cells;
    for (int lane = 0; lane < kPanel; lane += Vec::kLanes) {
        const auto group = [&](int along_y, int along_x) {
            return Vec::load(c.groups + ((along_y * kGroups + along_x) * c.tiles + t) * kPanel + lane);
        };
        Vec total = Vec::load(pooled + lane);
        for (int row = 0; row < (has_second_row ? 2 : 1); ++row) {
            const Vec middle = group(row, 1) + group(row + 1, 1);
            total = total + relu(group(row, 0) + group(row + 1, 0) + middle);
            if (has_second) total = total + relu(middle + (group(row, 2) + group(row + 1, 2)));
        }
        total.store(pooled + lane);
    }
}

// Adds two rows of outputs to `pooled`, or the first of them, from five rows of inputs. kInputs: the channels of an
// input where the compiler may know them, else 0.
template <int kInputs>
void pool(const PooledConvolution& c, const float* const (&rows)[kTerms], bool has_second_row,
          float* pooled) {
    const Terms terms = prepare(c, rows);
    const float nothing[kPanel] = {};
    const float* weights = c.weights;
    for (std::int64_t channel = 0; channel < c.outputs; channel += kPanel) {
        for (int group = 0; group < kGroups * kGroups; ++group) {
            const int along_y = group / kGroups, along_x = group % kGroups;
            Convolution part = {{}, 0, c.inputs, 4 * c.inputs, weights, nothing};
            // The group that is in all four outputs brings the bias.
            if (along_y == 1 && along_x == 1) part.bias = c.bias + channel;
            for (int i = kFirstTerm[along_y]; i < kFirstTerm[along_y + 1]; ++i) {
                for (int k = kFirstTerm[along_x]; k < kFirstTerm[along_x + 1]; ++k) {
                    const float* row = is_difference(k) ? terms.stepped[i] : terms.plain[i];
                    part.rows[part.count++] = row + (k == 4 ? 2 : k) * c.inputs;
                }
            }
            weights += part.count * c.inputs * kPanel;
            float* to = c.groups + group * c.tiles * kPanel;
            convolve<kInputs, 4 * kInputs>(part, c.tiles, [&](std::int64_t tile, int lane, Vec sum) {
                sum.store(to + tile * kPanel + lane);
            });
        }
        for (std::int64_t tile = 0; tile < c.tiles; ++tile) gather(c, tile, has_second_row, pooled + channel);
    }
}

// [outputs][inputs][3][3] to what the groups want: [terms][inputs][kPanel], in their order, panel by panel.
inline void pack_pooled(const float* from, std::int64_t inputs, std::int64_t outputs, float* to) {
    fill(to, pooled_weights_size(inputs, outputs), 0);
    for (std::int64_t channel = 0; channel < outputs; channel += kPanel) {
        for (int group = 0; group < kGroups * kGroups; ++group) {
            const int along_y = group / kGroups, along_x = group % kGroups;
            for (int i = kFirstTerm[along_y]; i < kFirstTerm[along_y + 1]; ++i) {
                for (int k = kFirstTerm[along_x]; k < kFirstTerm[along_x + 1]; ++k) {
                    for (std::int64_t o = channel; o < outputs && o < channel + kPanel; ++o) {
                        for (std::int64_t c = 0; c < inputs; ++c) {
                            const float* taps = from + (o * inputs + c) * 9;
                            float sum = 0;
                            for (int tap = 0; tap < 9; ++tap) {
                                sum += taps[tap] * kShareOfTap[i][tap / 3] * kShareOfTap[k][tap % 3];
                            }
                            to[c * kPanel + o - channel] = sum;
                        }
                    }
                    to += whole_panels(inputs) * kPanel;
                }
            }
        }
    }
}

}  // namespace
}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
