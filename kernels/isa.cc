// Which instruction set to use: asked of the processor once, overridable by name.
#include <atomic>
#include <cstdlib>

#include "tapkernels.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace tapkernels {
namespace {

constexpr const char* kNames[kIsaCount] = {"scalar", "neon", "avx2", "avx512"};
constexpr int kUndecided = -1;
std::atomic<int> chosen{kUndecided};

#if defined(_MSC_VER) && defined(_M_X64)
struct Features {
    bool avx2 = false, avx512 = false;
};

// A feature counts only if the operating system saves its registers, which XGETBV tells.
Features query_processor() {
    Features features;
    int leaf[4];
    __cpuid(leaf, 0);
    if (leaf[0] < 7) return features;
    __cpuidex(leaf, 1, 0);
    const unsigned basic = static_cast<unsigned>(leaf[2]);
    const bool fma = basic & (1u << 12), has_xgetbv = basic & (1u << 27);
    if (!has_xgetbv) return features;
    const unsigned long long saved = _xgetbv(0);
    __cpuidex(leaf, 7, 0);
    const unsigned extended = static_cast<unsigned>(leaf[1]);
    const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
    features.avx2 = fma && (extended & (1u << 5)) && (saved & 0x6) == 0x6;
    features.avx512 = features.avx2 && (extended & avx512) == avx512 && (saved & 0xe6) == 0xe6;
    return features;
}

bool processor_runs(Isa isa) {
    static const Features features = query_processor();
    return isa == Isa::avx512 ? features.avx512 : features.avx2;
}
#elif defined(__x86_64__)
bool processor_runs(Isa isa) {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == Isa::avx2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

bool available(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return true;
#ifdef TAPKERNELS_HAS_NEON
        case Isa::neon:
            return true;  // part of every 64-bit ARM processor
#endif
#ifdef TAPKERNELS_HAS_AVX2
        case Isa::avx2:
            return processor_runs(isa);
#endif
#ifdef TAPKERNELS_HAS_AVX512
        case Isa::avx512:
            return processor_runs(isa);
#endif
        default:
            return false;
    }
}

template <typename Names>
std::string join(const Names& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
}

Isa parse(std::string_view name, const std::string& source) {
    for (int i = 0; i < kIsaCount; ++i) {
        if (name != kNames[i]) continue;
        if (available(static_cast<Isa>(i))) return static_cast<Isa>(i);
        throw IsaError(
            source + " asks for '" + std::string(name) +
            "', which this processor or this build lacks; available here: " + join(available_isas()));
    }
    throw IsaError(source + " asks for '" + std::string(name) + "', expected one of: " + join(kNames) +
                   "; available here: " + join(available_isas()));
}

Isa choose() {
    const char* wanted = std::getenv("TAPKERNELS_ISA");
    if (wanted != nullptr && *wanted != '\0') return parse(wanted, "the environment variable TAPKERNELS_ISA");
    for (int i = kIsaCount - 1; i > 0; --i) {
        if (available(static_cast<Isa>(i))) return static_cast<Isa>(i);
    }
    return Isa::scalar;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (int i = 0; i < kIsaCount; ++i) {
        if (available(static_cast<Isa>(i))) names.emplace_back(kNames[i]);
    }
    return names;
}

Isa active_isa() {
    int isa = chosen.load(std::memory_order_relaxed);
    if (isa == kUndecided) {
        static const Isa by_itself = choose();
        isa = static_cast<int>(by_itself);
    }
    return static_cast<Isa>(isa);
}

const char* isa_name(Isa isa) {
    return kNames[static_cast<int>(isa)];
}

void set_isa(std::string_view name) {
    chosen.store(name.empty() ? kUndecided : static_cast<int>(parse(name, "set_isa")),
                 std::memory_order_relaxed);
}

}  // namespace tapkernels
