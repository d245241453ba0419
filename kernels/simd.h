// `Vec`: a handful of floats that one instruction works on. The build compiles every op once per instruction
// set, with TAPKERNELS_ISA naming it (and the namespace of the op), and gets the `Vec` of that set:
//
//     kLanes                       floats in a Vec
//     zero(), all(x)               every lane 0, every lane x
//     load(p)                      kLanes floats, or kLanes bytes widened to float; p need not be aligned
//     load_first(p, n)             the first n < kLanes floats, 0 in the other lanes; reads nothing further
//     store(p)                     to kLanes floats
//     a + b, a - b, a * b, a / b   per lane
//     fma(a, b, c)                 a * b + c; rounded once or twice, as the instruction set has it
//     sum(a)                       over the lanes
//
// Everything has internal linkage, so that no code of one instruction set can be linked into another.
#pragma once

#include <cstdint>

#if defined(TAPKERNELS_SIMD_AVX2) || defined(TAPKERNELS_SIMD_AVX512)
#include <immintrin.h>
#elif defined(TAPKERNELS_SIMD_NEON)
#include <arm_neon.h>
#endif

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

#if defined(TAPKERNELS_SIMD_AVX512)

struct Vec {
    static constexpr int kLanes = 16;
    __m512 lanes;

    static Vec zero() { return {_mm512_setzero_ps()}; }
    static Vec all(float x) { return {_mm512_set1_ps(x)}; }
    static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Vec load(const std::uint8_t* p) {
        return {
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
    }
    static Vec load_first(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p)};
    }
    void store(float* p) const { _mm512_storeu_ps(p, lanes); }

    friend Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
    friend Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.lanes, b.lanes)}; }
    friend Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
    friend Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.lanes, b.lanes)}; }
    friend Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)}; }
    friend float sum(Vec a) { return _mm512_reduce_add_ps(a.lanes); }
};

#elif defined(TAPKERNELS_SIMD_AVX2)

struct Vec {
    static constexpr int kLanes = 8;
    __m256 lanes;

    static Vec zero() { return {_mm256_setzero_ps()}; }
    static Vec all(float x) { return {_mm256_set1_ps(x)}; }
    static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static Vec load(const std::uint8_t* p) {
        return {
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
    }
    static Vec load_first(const float* p, int n) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return {_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane))};
    }
    void store(float* p) const { _mm256_storeu_ps(p, lanes); }

    friend Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.lanes, b.lanes)}; }
    friend Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.lanes, b.lanes)}; }
    friend Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.lanes, b.lanes)}; }
    friend Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.lanes, b.lanes)}; }
    friend Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes)}; }
    friend float sum(Vec a) {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.lanes), _mm256_extractf128_ps(a.lanes, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
};

#elif defined(TAPKERNELS_SIMD_NEON)

struct Vec {
    static constexpr int kLanes = 4;
    float32x4_t lanes;

    static Vec zero() { return {vdupq_n_f32(0)}; }
    static Vec all(float x) { return {vdupq_n_f32(x)}; }
    static Vec load(const float* p) { return {vld1q_f32(p)}; }
    static Vec load(const std::uint8_t* p) {
        const uint32x4_t wide = {p[0], p[1], p[2], p[3]};
        return {vcvtq_f32_u32(wide)};
    }
    static Vec load_first(const float* p, int n) {
        float padded[kLanes] = {};
        for (int i = 0; i < n; ++i) padded[i] = p[i];
        return load(padded);
    }
    void store(float* p) const { vst1q_f32(p, lanes); }

    friend Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.lanes, b.lanes)}; }
    friend Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.lanes, b.lanes)}; }
    friend Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.lanes, b.lanes)}; }
    friend Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.lanes, b.lanes)}; }
    friend Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.lanes, a.lanes, b.lanes)}; }
    friend float sum(Vec a) { return vaddvq_f32(a.lanes); }
};

#else

// Four lanes of plain C++: enough independent sums for a compiler to keep a pipeline, or a baseline vector
// unit, busy.
struct Vec {
    static constexpr int kLanes = 4;
    float lanes[kLanes];

    static Vec zero() { return {}; }
    static Vec all(float x) { return {{x, x, x, x}}; }
    static Vec load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
    static Vec load(const std::uint8_t* p) {
        return {{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                 static_cast<float>(p[3])}};
    }
    static Vec load_first(const float* p, int n) {
        Vec v = zero();
        for (int i = 0; i < n; ++i) v.lanes[i] = p[i];
        return v;
    }
    void store(float* p) const {
        for (int i = 0; i < kLanes; ++i) p[i] = lanes[i];
    }

    friend Vec operator+(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) a.lanes[i] += b.lanes[i];
        return a;
    }
    friend Vec operator-(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) a.lanes[i] -= b.lanes[i];
        return a;
    }
    friend Vec operator*(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) a.lanes[i] *= b.lanes[i];
        return a;
    }
    friend Vec operator/(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) a.lanes[i] /= b.lanes[i];
        return a;
    }
    friend Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
    friend float sum(Vec a) { return (a.lanes[0] + a.lanes[1]) + (a.lanes[2] + a.lanes[3]); }
};

#endif

}  // namespace
}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
