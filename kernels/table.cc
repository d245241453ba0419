// The op table. A new op is one file under ops/ and one row here.
#include "tapkernels.h"

#define TAPKERNELS_OPS(ROW) \
    ROW(cost_volume_track)  \
    ROW(local_correlation)  \
    ROW(lucas_kanade)       \
    ROW(mixer)              \
    ROW(resize_normalize)   \
    ROW(sample_features)

namespace tapkernels {

#define DECLARE(op) extern const Op op;
namespace scalar {
TAPKERNELS_OPS(DECLARE)
}
#ifdef TAPKERNELS_HAS_NEON
namespace neon {
TAPKERNELS_OPS(DECLARE)
}
#endif
#ifdef TAPKERNELS_HAS_AVX2
namespace avx2 {
TAPKERNELS_OPS(DECLARE)
}
#endif
#ifdef TAPKERNELS_HAS_AVX512
namespace avx512 {
TAPKERNELS_OPS(DECLARE)
}
#endif

namespace {

#define ADDRESS(op) &op,
std::vector<const Op*> table(Isa isa) {
    switch (isa) {
#ifdef TAPKERNELS_HAS_NEON
        case Isa::neon: {
            using namespace neon;
            return {TAPKERNELS_OPS(ADDRESS)};
        }
#endif
#ifdef TAPKERNELS_HAS_AVX2
        case Isa::avx2: {
            using namespace avx2;
            return {TAPKERNELS_OPS(ADDRESS)};
        }
#endif
#ifdef TAPKERNELS_HAS_AVX512
        case Isa::avx512: {
            using namespace avx512;
            return {TAPKERNELS_OPS(ADDRESS)};
        }
#endif
        default: {
            using namespace scalar;
            return {TAPKERNELS_OPS(ADDRESS)};
        }
    }
}

}  // namespace

const Op& find_op(std::string_view name) {
    static const std::vector<const Op*> tables[kIsaCount] = {table(Isa::scalar), table(Isa::neon),
                                                             table(Isa::avx2), table(Isa::avx512)};
    for (const Op* op : tables[static_cast<int>(active_isa())]) {
        if (name == op->name) return *op;
    }
    std::string known;
    for (const std::string& each : op_names()) known += (known.empty() ? "" : ", ") + each;
    throw ArgumentError("unknown op '" + std::string(name) + "', expected one of: " + known);
}

std::vector<std::string> op_names() {
#define NAME(op) #op,
    return {TAPKERNELS_OPS(NAME)};
}

}  // namespace tapkernels
