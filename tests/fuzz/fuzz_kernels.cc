// Random calls of every op on every instruction set, made up from what the ops declare: sizes down to 0, strides that
// skip and go backwards, positions that are NaN, infinite or huge, attributes out of range. For builds with
// -DTAPKERNELS_SANITIZE=ON: a finding is what the sanitizers report, or an exception that is no ArgumentError.
//
//     fuzz_kernels SECONDS [SEED]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tapkernels.h"

using namespace tapkernels;

namespace {

std::mt19937_64 generator;

std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
}

std::int64_t random_size() {
    return between(0, 9) ? between(1, std::int64_t{1} << between(0, 6)) : between(0, 2);
}

// Of a letter that was not met yet; now and then that of another one, since some ops want that of certain pairs.
std::int64_t size_of_new_letter(const std::map<char, std::int64_t>& sizes) {
    if (sizes.empty() || between(0, 3)) return random_size();
    return std::next(sizes.begin(), between(0, static_cast<std::int64_t>(sizes.size()) - 1))->second;
}

float random_value() {
    static const float strange[] = {std::numeric_limits<float>::quiet_NaN(),
                                    std::numeric_limits<float>::infinity(),
                                    -std::numeric_limits<float>::infinity(),
                                    1e30f,
                                    -3e9f,
                                    2147483648.0f,
                                    1e-42f,
                                    -0.5f};
    if (between(0, 40) == 0) return strange[between(0, 7)];
    return std::uniform_real_distribution<float>(-70.0f, 70.0f)(generator);
}

// A tensor and the memory that it looks at, exactly as large as it needs.
struct Owned {
    Tensor tensor = {};
    std::unique_ptr<float[]> floats;
    std::unique_ptr<std::uint8_t[]> bytes;
};

Owned random_tensor(const Input& input, std::map<char, std::int64_t>& sizes) {
    Owned owned;
    Tensor& tensor = owned.tensor;
    for (const char* symbol = input.shape; *symbol; ++symbol) {
        const bool letter = *symbol >= 'A' && *symbol <= 'Z';
        if (letter && !sizes.count(*symbol)) sizes[*symbol] = size_of_new_letter(sizes);
        tensor.shape.size[tensor.shape.rank++] = letter ? sizes[*symbol] : *symbol - '0';
    }
    std::int64_t extent = 1, start = 0;
    for (int axis = tensor.shape.rank - 1; axis >= 0; --axis) {
        const std::int64_t size = tensor.shape.size[axis], skip = input.strided ? between(1, 2) : 1;
        tensor.strides[axis] = extent * skip;
        extent *= size > 0 ? (size - 1) * skip + 1 : 0;
        if (input.strided && size > 1 && between(0, 3) == 0) {
            start += (size - 1) * tensor.strides[axis];
            tensor.strides[axis] = -tensor.strides[axis];
        }
    }
    const auto count = static_cast<std::size_t>(extent);
    const bool is_bytes =
        (input.dtypes & only(DType::uint8)) && (!(input.dtypes & only(DType::float32)) || between(0, 1));
    tensor.dtype = is_bytes ? DType::uint8 : DType::float32;
    if (is_bytes) {
        owned.bytes.reset(new std::uint8_t[count]);
        for (std::size_t i = 0; i < count; ++i) owned.bytes[i] = static_cast<std::uint8_t>(generator());
        tensor.data = owned.bytes.get() + (count ? start : 0);
    } else {
        owned.floats.reset(new float[count]);
        for (std::size_t i = 0; i < count; ++i) owned.floats[i] = random_value();
        tensor.data = owned.floats.get() + (count ? start : 0);
    }
    return owned;
}

// Sizes that an op wants beyond what its row says, mostly: few random ones would agree.
std::map<char, std::int64_t> agreed_sizes(const Op& op, const Call& call) {
    if (op.name != std::string("mixer") || between(0, 9) == 0) return {};
    const auto panels = [](std::int64_t columns) { return (columns + 15) / 16 * 16; };
    const std::int64_t inputs = random_size(), width = between(0, 40), wide = 4 * width,
                       blocks = between(0, 3);
    const std::int64_t block =
        2 * panels(width) + 8 * panels(wide) + (width + 1) * panels(wide) + (wide + 1) * panels(width);
    const std::int64_t weights = (inputs + 1) * panels(width) + blocks * block + panels(width) +
                                 (width + 1) * panels(call.attributes[0]);
    return {{'F', inputs}, {'C', width}, {'H', wide}, {'B', blocks}, {'W', weights}};
}

// Whether the op took the call.
bool try_once(const Op& op) {
    std::vector<Owned> owned;
    Call call = {};
    for (int i = 0; i < kMaxAttributes && op.attributes[i].name; ++i) {
        const Attribute& attribute = op.attributes[i];
        const std::int64_t highest =
            std::min(attribute.highest, attribute.lowest + (std::int64_t{1} << between(0, 6)));
        call.attributes[i] =
            between(0, 30) ? between(attribute.lowest, highest) : between(-9, attribute.lowest);
    }
    call.threads = between(1, 4);
    std::map<char, std::int64_t> sizes = agreed_sizes(op, call);
    for (int i = 0; i < kMaxInputs && op.inputs[i].name; ++i) {
        owned.push_back(random_tensor(op.inputs[i], sizes));
        call.inputs[i] = owned.back().tensor;
    }
    try {
        std::vector<std::unique_ptr<float[]>> outputs;
        for (const Shape& shape : check(op, call)) {
            std::int64_t count = 1;
            for (int axis = 0; axis < shape.rank; ++axis) count *= shape.size[axis];
            outputs.emplace_back(new float[static_cast<std::size_t>(count)]);
            const std::size_t index = outputs.size() - 1;
            call.outputs[index] = outputs.back().get();
            for (std::size_t i = 0; op.outputs[index].replaces && i < owned.size(); ++i) {
                const bool replaced = op.outputs[index].replaces == std::string(op.inputs[i].name);
                if (replaced && between(0, 1)) call.outputs[index] = owned[i].floats.get();
            }
        }
        op.run(call);
    } catch (const ArgumentError&) {
        return false;
    }
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const double seconds = count > 1 ? std::atof(arguments[1]) : 10.0;
    generator.seed(count > 2 ? static_cast<std::uint64_t>(std::atoll(arguments[2])) : 0);
    const std::vector<std::string> isas = available_isas(), names = op_names();
    const auto began = std::chrono::steady_clock::now();
    std::int64_t calls = 0, taken = 0;
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() < seconds) {
        set_isa(isas[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(isas.size()) - 1))]);
        taken += try_once(find_op(
            names[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(names.size()) - 1))]));
        ++calls;
    }
    std::printf("kernels: %lld calls, %lld of them taken, 0 findings\n", static_cast<long long>(calls),
                static_cast<long long>(taken));
    return taken > 0 ? 0 : 1;
}
