// `convolve`: what the convolutions of an op are made of. Vecs of outputs, a few cells at a time, and broadcast inputs;
// every sum is added up in the order of its inputs.
#pragma once

#include "matmul.h"

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

// Cells that are convolved together: as many as leave their sums in registers, beside an input and weights.
#if defined(TAPKERNELS_SIMD_AVX512)
constexpr int kMostCells = 16;
#elif defined(TAPKERNELS_SIMD_SCALAR)
constexpr int kMostCells = 2;
#else
constexpr int kMostCells = 6;
#endif

inline std::int64_t whole_panels(std::int64_t count) {
    return (count + kPanel - 1) / kPanel * kPanel;
}

// Never below zero, but NaN where x is.
inline Vec relu(Vec x) {
    return max(Vec::zero(), x);
}

inline void fill(float* values, std::int64_t count, float value) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = value;
}

// Sums over inputs of a row of cells, for one panel of outputs: inputs are `length` floats of each of some rows, for a
// cell those from row + cell * step on. Below, kLength and kStep are these where the compiler may know them, else 0.
struct Convolution {
    const float* rows[4];
    int count;
    std::int64_t length, step;
    const float *weights, *bias;  // [count * length][kPanel], [kPanel]
};

// finish(cell, lane, sum) gets what is found for kCells cells from `begin` on, Vec by Vec.
template <int kCells, int kLength, int kStep, typename Finish>
void convolve_block(const Convolution& c, std::int64_t begin, const Finish& finish) {
    const std::int64_t step = kStep ? kStep : c.step, length = kLength ? kLength : c.length;
    Vec sums[kCells][kPanelVecs];
    TAPKERNELS_UNROLL
    for (int i = 0; i < kCells; ++i) {
        TAPKERNELS_UNROLL
        for (int v = 0; v < kPanelVecs; ++v) sums[i][v] = Vec::load(c.bias + v * Vec::kLanes);
    }
    const float* weights = c.weights;
    for (int row = 0; row < c.count; ++row) {
        const float* input = c.rows[row] + begin * step;
        for (std::int64_t k = 0; k < length; ++k, ++input, weights += kPanel) {
            Vec weight[kPanelVecs];
            TAPKERNELS_UNROLL
            for (int v = 0; v < kPanelVecs; ++v) weight[v] = Vec::load(weights + v * Vec::kLanes);
            TAPKERNELS_UNROLL
            for (int i = 0; i < kCells; ++i) {
                const Vec each = Vec::all(input[i * step]);
                TAPKERNELS_UNROLL
                for (int v = 0; v < kPanelVecs; ++v) sums[i][v] = fma(each, weight[v], sums[i][v]);
            }
        }
    }
    TAPKERNELS_UNROLL
    for (int i = 0; i < kCells; ++i) {
        TAPKERNELS_UNROLL
        for (int v = 0; v < kPanelVecs; ++v) finish(begin + i, v * Vec::kLanes, sums[i][v]);
    }
}

// The same for `count` cells, of which there are kCells at most.
template <int kCells, int kLength, int kStep, typename Finish>
void convolve_some(const Convolution& c, std::int64_t begin, std::int64_t count, const Finish& finish) {
    if (count == kCells) {
        convolve_block<kCells, kLength, kStep>(c, begin, finish);
    } else if constexpr (kCells > 1) {
        convolve_some<kCells - 1, kLength, kStep>(c, begin, count, finish);
    }
}

// The same for any number of cells, in order.
template <int kLength, int kStep, typename Finish>
void convolve(const Convolution& c, std::int64_t cells, const Finish& finish) {
    const std::int64_t blocks = (cells + kMostCells - 1) / kMostCells;
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = cells * block / blocks, end = cells * (block + 1) / blocks;
        convolve_some<kMostCells, kLength, kStep>(c, begin, end - begin, finish);
    }
}

}  // namespace
}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
