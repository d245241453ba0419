// `Vec`: a handful of floats that one instruction works on. The build compiles every op once per instruction
// set, with TAPKERNELS_ISA naming it (and the namespace of the op), and gets the `Vec` of that set:
//
//     kLanes                       floats in a Vec
//     zero(), all(x)               every lane 0, every lane x
//     load(p)                      kLanes floats, or kLanes bytes widened to float; p need not be aligned
//     load_first(p, n)             the first n < kLanes floats, 0 in the other lanes; reads nothing further
//     load_fours(p)                kLanes / 4 floats, each in four neighbouring lanes
//     store(p)                     to kLanes floats
//     store_first(p, n)            the first n < kLanes lanes; writes nothing further
//     store_fours(p)               kLanes / 4 floats, each the sum of four neighbouring lanes
//     a + b, a - b, a * b, a / b   per lane
//     fma(a, b, c)                 a * b + c; rounded once or twice, as the instruction set has it
//     sum(a), highest(a)           over the lanes
//     min(a, b), max(a, b)         per lane; b where either is NaN
//     exp(a)                       e^a, with a relative error below 2e-7 for a from -87 to 88, and as if a were
//                                  the nearer of these beyond; NaN for NaN
//     power_of_two(a)              2^n where a is n + kRounder, n a whole number from -126 to 127
//     sums(a)                      of kLanes Vecs, each over its lanes: those of a[0] first
//     mantissa(a, exponent)        of positive, normal a: a = mantissa * 2^exponent, sqrt(1/2) <= mantissa < sqrt(2)
//     log(a)                       natural, of positive, normal a; NaN for NaN and infinity
//
// Everything has internal linkage, so that no code of one instruction set can be linked into another.
#pragma once

#include <string.h>

#include <cstdint>

#if defined(TAPKERNELS_SIMD_AVX2) || defined(TAPKERNELS_SIMD_AVX512)
#include <immintrin.h>
#elif defined(TAPKERNELS_SIMD_NEON)
#include <arm_neon.h>
#endif

namespace tapkernels {
namespace TAPKERNELS_ISA {
namespace {

constexpr std::int32_t kRootOfHalf = 0x3f3504f3;  // the bits of sqrt(1/2)
constexpr std::int32_t kFraction = 0x007fffff;    // those of a float behind its exponent

// Says that the memory at p, which need not be there, is read soon.
inline void prefetch(const float* p) {
#if defined(TAPKERNELS_SIMD_AVX2) || defined(TAPKERNELS_SIMD_AVX512)
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
#elif defined(__GNUC__)
    __builtin_prefetch(p);
#else
    static_cast<void>(p);
#endif
}

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
    static Vec load_fours(const float* p) {
        const __m512i each = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        return {_mm512_permutexvar_ps(each, _mm512_castps128_ps512(_mm_loadu_ps(p)))};
    }
    void store(float* p) const { _mm512_storeu_ps(p, lanes); }
    void store_first(float* p, int n) const {
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), lanes);
    }
    void store_fours(float* p) const {
        const __m512 two = _mm512_add_ps(lanes, _mm512_permute_ps(lanes, 0xB1));
        const __m512 four = _mm512_add_ps(two, _mm512_permute_ps(two, 0x4E));
        const __m512i each = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
        _mm_storeu_ps(p, _mm512_castps512_ps128(_mm512_permutexvar_ps(each, four)));
    }

    friend Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
    friend Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.lanes, b.lanes)}; }
    friend Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
    friend Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.lanes, b.lanes)}; }
    friend Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)}; }
    friend float sum(Vec a) { return _mm512_reduce_add_ps(a.lanes); }
    friend float highest(Vec a) { return _mm512_reduce_max_ps(a.lanes); }
    friend Vec sums(const Vec (&a)[kLanes]) {
        __m512 half[8], quarter[4];
        for (int i = 0; i < 8; ++i) {
            const __m512 first = a[i < 4 ? i : i + 4].lanes, second = a[i < 4 ? i + 4 : i + 8].lanes;
            half[i] = _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x44),
                                    _mm512_shuffle_f32x4(first, second, 0xee));
        }
        for (int i = 0; i < 4; ++i) {
            quarter[i] = _mm512_add_ps(_mm512_shuffle_f32x4(half[i], half[i + 4], 0x88),
                                       _mm512_shuffle_f32x4(half[i], half[i + 4], 0xdd));
        }
        const __m512 even = _mm512_add_ps(_mm512_unpacklo_ps(quarter[0], quarter[1]),
                                          _mm512_unpackhi_ps(quarter[0], quarter[1]));
        const __m512 odd = _mm512_add_ps(_mm512_unpacklo_ps(quarter[2], quarter[3]),
                                         _mm512_unpackhi_ps(quarter[2], quarter[3]));
        return {_mm512_add_ps(_mm512_shuffle_ps(even, odd, 0x44), _mm512_shuffle_ps(even, odd, 0xee))};
    }
    friend Vec mantissa(Vec a, Vec& exponent) {
        const __m512i root = _mm512_set1_epi32(kRootOfHalf);
        const __m512i bits = _mm512_sub_epi32(_mm512_castps_si512(a.lanes), root);
        exponent = {_mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23))};
        const __m512i rest = _mm512_and_si512(bits, _mm512_set1_epi32(kFraction));
        return {_mm512_castsi512_ps(_mm512_add_epi32(rest, root))};
    }
    friend Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.lanes, b.lanes)}; }
    friend Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.lanes, b.lanes)}; }
    friend Vec power_of_two(Vec a) {
        const __m512i exponent = _mm512_add_epi32(_mm512_castps_si512(a.lanes), _mm512_set1_epi32(127));
        return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
    }
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
    static Vec load_fours(const float* p) {
        return {_mm256_set_m128(_mm_broadcast_ss(p + 1), _mm_broadcast_ss(p))};
    }
    void store(float* p) const { _mm256_storeu_ps(p, lanes); }
    void store_first(float* p, int n) const {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane), lanes);
    }
    void store_fours(float* p) const {
        const __m256 two = _mm256_hadd_ps(lanes, lanes), four = _mm256_hadd_ps(two, two);
        p[0] = _mm256_cvtss_f32(four);
        p[1] = _mm_cvtss_f32(_mm256_extractf128_ps(four, 1));
    }

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
    friend float highest(Vec a) {
        const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.lanes), _mm256_extractf128_ps(a.lanes, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }
    friend Vec sums(const Vec (&a)[kLanes]) {
        const __m256 first =
            _mm256_hadd_ps(_mm256_hadd_ps(a[0].lanes, a[1].lanes), _mm256_hadd_ps(a[2].lanes, a[3].lanes));
        const __m256 second =
            _mm256_hadd_ps(_mm256_hadd_ps(a[4].lanes, a[5].lanes), _mm256_hadd_ps(a[6].lanes, a[7].lanes));
        return {_mm256_add_ps(_mm256_permute2f128_ps(first, second, 0x20),
                              _mm256_permute2f128_ps(first, second, 0x31))};
    }
    friend Vec mantissa(Vec a, Vec& exponent) {
        const __m256i root = _mm256_set1_epi32(kRootOfHalf);
        const __m256i bits = _mm256_sub_epi32(_mm256_castps_si256(a.lanes), root);
        exponent = {_mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23))};
        const __m256i rest = _mm256_and_si256(bits, _mm256_set1_epi32(kFraction));
        return {_mm256_castsi256_ps(_mm256_add_epi32(rest, root))};
    }
    friend Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.lanes, b.lanes)}; }
    friend Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.lanes, b.lanes)}; }
    friend Vec power_of_two(Vec a) {
        const __m256i exponent = _mm256_add_epi32(_mm256_castps_si256(a.lanes), _mm256_set1_epi32(127));
        return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
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
    static Vec load_fours(const float* p) { return {vld1q_dup_f32(p)}; }
    void store(float* p) const { vst1q_f32(p, lanes); }
    void store_first(float* p, int n) const {
        float all[kLanes];
        store(all);
        for (int i = 0; i < n; ++i) p[i] = all[i];
    }
    void store_fours(float* p) const { p[0] = vaddvq_f32(lanes); }

    friend Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.lanes, b.lanes)}; }
    friend Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.lanes, b.lanes)}; }
    friend Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.lanes, b.lanes)}; }
    friend Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.lanes, b.lanes)}; }
    friend Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.lanes, a.lanes, b.lanes)}; }
    friend float sum(Vec a) { return vaddvq_f32(a.lanes); }
    friend float highest(Vec a) { return vmaxvq_f32(a.lanes); }
    friend Vec sums(const Vec (&a)[kLanes]) {
        return {vpaddq_f32(vpaddq_f32(a[0].lanes, a[1].lanes), vpaddq_f32(a[2].lanes, a[3].lanes))};
    }
    friend Vec mantissa(Vec a, Vec& exponent) {
        const int32x4_t root = vdupq_n_s32(kRootOfHalf);
        const int32x4_t bits = vsubq_s32(vreinterpretq_s32_f32(a.lanes), root);
        exponent = {vcvtq_f32_s32(vshrq_n_s32(bits, 23))};
        return {vreinterpretq_f32_s32(vaddq_s32(vandq_s32(bits, vdupq_n_s32(kFraction)), root))};
    }
    friend Vec min(Vec a, Vec b) { return {vbslq_f32(vcltq_f32(a.lanes, b.lanes), a.lanes, b.lanes)}; }
    friend Vec max(Vec a, Vec b) { return {vbslq_f32(vcgtq_f32(a.lanes, b.lanes), a.lanes, b.lanes)}; }
    friend Vec power_of_two(Vec a) {
        const uint32x4_t exponent = vaddq_u32(vreinterpretq_u32_f32(a.lanes), vdupq_n_u32(127));
        return {vreinterpretq_f32_u32(vshlq_n_u32(exponent, 23))};
    }
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
    static Vec load_fours(const float* p) { return all(p[0]); }
    void store(float* p) const {
        for (int i = 0; i < kLanes; ++i) p[i] = lanes[i];
    }
    void store_first(float* p, int n) const {
        for (int i = 0; i < n; ++i) p[i] = lanes[i];
    }
    void store_fours(float* p) const { p[0] = sum(*this); }

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
    friend float highest(Vec a) {
        float most = a.lanes[0];
        for (int i = 1; i < kLanes; ++i) most = a.lanes[i] > most ? a.lanes[i] : most;
        return most;
    }
    friend Vec sums(const Vec (&a)[kLanes]) { return {{sum(a[0]), sum(a[1]), sum(a[2]), sum(a[3])}}; }
    friend Vec mantissa(Vec a, Vec& exponent) {
        for (int i = 0; i < kLanes; ++i) {
            std::int32_t bits;
            memcpy(&bits, &a.lanes[i], sizeof bits);
            // Wraps around where a is no positive number, as the instructions do.
            bits = static_cast<std::int32_t>(static_cast<std::uint32_t>(bits) - kRootOfHalf);
            exponent.lanes[i] = static_cast<float>(bits >> 23);
            bits = (bits & kFraction) + kRootOfHalf;
            memcpy(&a.lanes[i], &bits, sizeof bits);
        }
        return a;
    }
    friend Vec min(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) b.lanes[i] = a.lanes[i] < b.lanes[i] ? a.lanes[i] : b.lanes[i];
        return b;
    }
    friend Vec max(Vec a, Vec b) {
        for (int i = 0; i < kLanes; ++i) b.lanes[i] = a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i];
        return b;
    }
    friend Vec power_of_two(Vec a) {
        for (float& each : a.lanes) {
            std::uint32_t bits;
            memcpy(&bits, &each, sizeof bits);
            bits = (bits + 127) << 23;
            memcpy(&each, &bits, sizeof bits);
        }
        return a;
    }
};

#endif

// Adding it rounds to a whole number, which is then in the lowest bits.
constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23

// e^a = 2^n e^r with |r| <= log(2) / 2; the polynomial of e^r is that of Cephes' expf (S. Moshier).
inline Vec exp(Vec a) {
    a = max(Vec::all(-87.0f), min(Vec::all(88.0f), a));
    const Vec rounded = fma(a, Vec::all(1.44269504f), Vec::all(kRounder));
    const Vec n = rounded - Vec::all(kRounder);
    // log(2) in two parts, the first of which has few digits, so that n times it is exact.
    const Vec r = fma(n, Vec::all(2.12194440e-4f), fma(n, Vec::all(-0.693359375f), a));
    const float factors[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                             5.0000001201e-1f};
    Vec power = Vec::all(1.9875691500e-4f);
    for (float factor : factors) power = fma(power, r, Vec::all(factor));
    return (fma(power, r * r, r) + Vec::all(1)) * power_of_two(rounded);
}

inline Vec log(Vec a) {
    Vec exponent = Vec::zero();
    const Vec rest = mantissa(a, exponent) - Vec::all(1);
    // log m = 2 artanh((m - 1) / (m + 1)), of which what is left out is below 1e-8 of it.
    const Vec s = rest / (rest + Vec::all(2)), square = s * s;
    Vec series = fma(square, Vec::all(1 / 9.0f), Vec::all(1 / 7.0f));
    series = fma(square, series, Vec::all(1 / 5.0f));
    series = fma(square, series, Vec::all(1 / 3.0f));
    series = fma(s + s, square * series, s + s);
    return fma(exponent, Vec::all(0.693147181f), series) + (a - a);
}

}  // namespace
}  // namespace TAPKERNELS_ISA
}  // namespace tapkernels
