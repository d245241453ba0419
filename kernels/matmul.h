// `multiply_add`: rows of floats times a matrix whose columns were packed, c += a b, in the calling thread.
//
// A packed matrix is made of panels of kPanel columns, [columns / kPanel, depth, kPanel], with zeros beyond the
// last column. One layout serves every instruction set, so that a matrix is packed once, when a model opens.
//
// A tile, some rows of some panels of c, stays in registers over a stretch of the depth, and this stretch of the
// panels stays in the nearest cache for all rows. Every number of c is a sum over the depth in ascending order,
// one product after the other: a row's numbers do not depend on what other rows there are.
#pragma once

#include "simd.h"

#if defined(__clang__)
#define TAPKERNELS_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define TAPKERNELS_UNROLL _Pragma("GCC unroll 16")
#else
#define TAPKERNELS_UNROLL
#endif

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr int kPanel = 16;
constexpr int kTileRows = 6;
constexpr std::int64_t kStretch = 256;

// Vecs of a tile: as many registers as can be spared for them.
#if defined(TAPKERNELS_SIMD_AVX2)
constexpr int kTileVecs = 12;
#else
constexpr int kTileVecs = 24;
#endif
constexpr int kPanelVecs = kPanel / Vec::kLanes;

// What one call multiplies. Consecutive rows of a and of c are as many floats apart as their stride says.
struct Product {
    const float* a;  // [rows, depth]
    std::int64_t a_stride;
    const float* b;  // [panels, depth, kPanel]
    float* c;        // [rows, panels * kPanel]
    std::int64_t c_stride, rows, depth, panels;
};

// c += a b for kRows rows and kPanels panels, and `depth` of their depth.
template <int kRows, int kPanels>
void multiply_tile(const Product& p, const float* a, const float* b, std::int64_t depth, float* c) {
    constexpr int kVecs = kPanels * kPanelVecs;
    const std::int64_t panel_stride = p.depth * kPanel;
    Vec sums[kRows][kVecs], columns[kVecs];
    TAPKERNELS_UNROLL
    for (int row = 0; row < kRows; ++row) {
        TAPKERNELS_UNROLL
        for (int i = 0; i < kVecs; ++i) sums[row][i] = Vec::load(c + row * p.c_stride + i * Vec::kLanes);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
        TAPKERNELS_UNROLL
        for (int i = 0; i < kVecs; ++i) {
            columns[i] = Vec::load(b + i / kPanelVecs * panel_stride + i % kPanelVecs * Vec::kLanes);
        }
        TAPKERNELS_UNROLL
        for (int row = 0; row < kRows; ++row) {
            const Vec value = Vec::all(a[row * p.a_stride + k]);
            TAPKERNELS_UNROLL
            for (int i = 0; i < kVecs; ++i) sums[row][i] = fma(value, columns[i], sums[row][i]);
        }
        b += kPanel;
    }
    TAPKERNELS_UNROLL
    for (int row = 0; row < kRows; ++row) {
        TAPKERNELS_UNROLL
        for (int i = 0; i < kVecs; ++i) sums[row][i].store(c + row * p.c_stride + i * Vec::kLanes);
    }
}

// The same for 1 to kTileRows rows: as many as `rows` says.
template <int kRows, int kPanels>
void multiply_rows(const Product& p, std::int64_t rows, const float* a, const float* b, std::int64_t depth,
                   float* c) {
    if constexpr (kRows > 0) {
        if (rows < kRows) return multiply_rows<kRows - 1, kPanels>(p, rows, a, b, depth, c);
        multiply_tile<kRows, kPanels>(p, a, b, depth, c);
    }
}

// As many rows as leave kTileVecs for this many panels.
template <int kPanels>
constexpr int kMostRows =
    kTileVecs / (kPanels * kPanelVecs) < kTileRows ? kTileVecs / (kPanels * kPanelVecs) : kTileRows;

// All panels from `panel` on that make up whole groups of kPanels; gives the first that is left.
template <int kPanels>
std::int64_t multiply_panels(const Product& p, std::int64_t panel) {
    const std::int64_t tiles = (p.rows + kMostRows<kPanels> - 1) / kMostRows<kPanels>;
    for (; panel + kPanels <= p.panels; panel += kPanels) {
        for (std::int64_t k = 0; k < p.depth; k += kStretch) {
            const std::int64_t depth = p.depth - k < kStretch ? p.depth - k : kStretch;
            const float* const b = p.b + (panel * p.depth + k) * kPanel;
            // Tiles of nearly the same height: one of a single row would take as long as one of several.
            for (std::int64_t tile = 0; tile < tiles; ++tile) {
                const std::int64_t row = p.rows * tile / tiles, end = p.rows * (tile + 1) / tiles;
                multiply_rows<kMostRows<kPanels>, kPanels>(p, end - row, p.a + row * p.a_stride + k, b, depth,
                                                           p.c + row * p.c_stride + panel * kPanel);
            }
        }
    }
    return panel;
}

// Few rows take more panels at a time, so that there are enough independent sums.
inline void multiply_add(const Product& p) {
    std::int64_t panel = 0;
    if (p.rows <= kMostRows<4> || kMostRows<4> == kTileRows) panel = multiply_panels<4>(p, panel);
    if (p.rows <= kMostRows<2> || kMostRows<2> == kTileRows) panel = multiply_panels<2>(p, panel);
    multiply_panels<1>(p, panel);
}

}  // namespace
}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
