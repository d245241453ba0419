// Every instruction set of this build against the scalar one, and that against values known beforehand. What
// the ops compute is tested in Python, against numpy and PyTorch; this program is for builds without Python,
// such as a cross build under an emulator.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "tapkernels.h"

using namespace tapkernels;

namespace {

std::mt19937 generator(0);

std::vector<float> uniform(std::int64_t count, float low, float high) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& each : values) each = std::uniform_real_distribution<float>(low, high)(generator);
    return values;
}

Tensor tensor(const void* data, DType dtype, const std::vector<std::int64_t>& sizes) {
    Tensor result = {data, dtype, {static_cast<int>(sizes.size()), {}}, {}};
    std::int64_t stride = 1;
    for (std::size_t axis = sizes.size(); axis-- > 0;) {
        result.shape.size[axis] = sizes[axis];
        result.strides[axis] = stride;
        stride *= sizes[axis];
    }
    return result;
}

// The values of all outputs, one output after the other.
std::vector<float> run(const char* name, Call call) {
    const Op& op = find_op(name);
    std::vector<std::vector<float>> outputs;
    for (const Shape& shape : check(op, call)) {
        std::int64_t count = 1;
        for (int axis = 0; axis < shape.rank; ++axis) count *= shape.size[axis];
        outputs.emplace_back(static_cast<std::size_t>(count));
        call.outputs[outputs.size() - 1] = outputs.back().data();
    }
    op.run(call);
    std::vector<float> values;
    for (const auto& each : outputs) values.insert(values.end(), each.begin(), each.end());
    return values;
}

void expect_close(const std::vector<float>& got, const std::vector<float>& wanted, const std::string& what) {
    if (got.size() != wanted.size()) {
        std::printf("%s: %zu values where %zu are expected\n", what.c_str(), got.size(), wanted.size());
        std::exit(1);
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (got[i] == wanted[i] || std::abs(got[i] - wanted[i]) <= 1e-4f) continue;
        std::printf("%s: value %zu is %g, expected %g\n", what.c_str(), i, got[i], wanted[i]);
        std::exit(1);
    }
}

Call correlation(const std::vector<float>& grid, const std::vector<float>& query,
                 const std::vector<float>& xy, const std::vector<std::int64_t>& size, std::int64_t radius) {
    const std::int64_t points = static_cast<std::int64_t>(xy.size() / 2);
    return {
        {tensor(grid.data(), DType::float32, size), tensor(query.data(), DType::float32, {points, size[2]}),
         tensor(xy.data(), DType::float32, {points, 2})},
        {radius},
        {},
        1};
}

// Memory of the inputs of a cost_volume_track, and the call. Its prior leaves no doubt about where the peak is.
struct CostVolume {
    std::vector<std::vector<float>> arrays{};
    Call call = {};

    CostVolume(std::int64_t height, std::int64_t width, std::int64_t channels, std::int64_t shared) {
        constexpr std::int64_t kPoints = 30, kOcclusion = 18, kHidden = 9, kLogits = 2;
        const std::vector<std::vector<std::int64_t>> sizes = {{height, width, channels},
                                                              {kPoints, channels},
                                                              {kPoints, 2},
                                                              {shared, 1, 3, 3},
                                                              {shared},
                                                              {1, shared, 3, 3},
                                                              {kOcclusion, shared, 3, 3},
                                                              {kOcclusion},
                                                              {kHidden, kOcclusion},
                                                              {kHidden},
                                                              {kLogits, kHidden},
                                                              {kLogits}};
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            std::int64_t count = 1;
            for (std::int64_t each : sizes[i]) count *= each;
            arrays.push_back(uniform(count, -0.1f, 0.1f));
            if (i == 2) {
                for (std::size_t k = 0; k < arrays[i].size(); ++k) {
                    const std::int64_t cell = static_cast<std::int64_t>(k) * 7 % (k % 2 ? height : width);
                    arrays[i][k] = static_cast<float>(cell) + 0.6f;
                }
            }
            call.inputs[i] = tensor(arrays[i].data(), DType::float32, sizes[i]);
        }
        arrays.push_back({1, 20});
        call.inputs[sizes.size()] = tensor(arrays.back().data(), DType::float32, {2});
        call.threads = 1;
    }
};

// Floats that the weights of a mixer are: everything in panels of 16 columns, biases as a matrix of depth 1.
std::int64_t mixer_weights(std::int64_t inputs, std::int64_t width, std::int64_t blocks,
                           std::int64_t outputs) {
    const auto panels = [](std::int64_t columns) { return (columns + 15) / 16 * 16; };
    const std::int64_t wide = 4 * width;
    const std::int64_t block =
        2 * panels(width) + 8 * panels(wide) + (width + 1) * panels(wide) + (wide + 1) * panels(width);
    return (inputs + 1) * panels(width) + blocks * block + panels(width) + (width + 1) * panels(outputs);
}

// A mixer and its memory, which a call may update in place.
struct Mixing {
    std::int64_t points, inputs, width, blocks, outputs;
    std::vector<float> x = uniform(points * inputs, -1, 1);
    std::vector<float> narrow = uniform(blocks * points * 2 * width, -1, 1);
    std::vector<float> wide = uniform(blocks * points * 2 * 4 * width, -1, 1);
    std::vector<float> weights = uniform(mixer_weights(inputs, width, blocks, outputs), -0.3f, 0.3f);

    Call call(std::int64_t threads) const {
        return {{tensor(x.data(), DType::float32, {points, inputs}),
                 tensor(narrow.data(), DType::float32, {blocks, points, 2, width}),
                 tensor(wide.data(), DType::float32, {blocks, points, 2, 4 * width}),
                 tensor(weights.data(), DType::float32, {static_cast<std::int64_t>(weights.size())})},
                {outputs},
                {},
                threads};
    }
};

void test_mixer(const std::string& isa) {
    for (const auto& [points, width] : {std::pair<int, int>{1, 1}, {7, 20}, {13, 33}, {50, 66}, {3, 128}}) {
        Mixing mixing = {points, 300, width, 2, 19};
        set_isa("scalar");
        const auto wanted = run("mixer", mixing.call(1));
        set_isa(isa);
        for (std::int64_t threads : {1, 3}) {
            expect_close(run("mixer", mixing.call(threads)), wanted, isa + " mixer");
        }
        Call call = mixing.call(2);
        std::vector<float> values(static_cast<std::size_t>(points * mixing.outputs));
        call.outputs[0] = values.data();
        call.outputs[1] = mixing.narrow.data();
        call.outputs[2] = mixing.wide.data();
        find_op("mixer").run(call);
        values.insert(values.end(), mixing.narrow.begin(), mixing.narrow.end());
        values.insert(values.end(), mixing.wide.begin(), mixing.wide.end());
        expect_close(values, wanted, isa + " mixer in place");
    }
}

void test_known_values() {
    const std::vector<float> grid = {1, 2, 3, 4}, query = {10, 10, 10}, xy = {0.5f, 0.5f, 1, 1, -100, NAN};
    expect_close(run("local_correlation", correlation(grid, query, xy, {2, 2, 1}, 0)), {10, 25, 0},
                 "known values");
    const std::vector<std::uint8_t> image = {0, 51, 255};
    const Call call = {{tensor(image.data(), DType::uint8, {1, 1, 3})}, {1, 1}, {}, 1};
    expect_close(run("resize_normalize", call), {-1, -0.6f, 1}, "known values");
}

void test_against_scalar(const std::string& isa) {
    for (std::int64_t channels : {1, 3, 4, 8, 15, 16, 17, 33, 128}) {
        const auto grid = uniform(7 * 9 * channels, -1, 1), query = uniform(600 * channels, -1, 1);
        const auto xy = uniform(1200, -6, 14);
        Call call = correlation(grid, query, xy, {7, 9, channels}, 3);
        set_isa("scalar");
        const auto wanted = run("local_correlation", call);
        set_isa(isa);
        for (std::int64_t threads : {1, 3}) {
            call.threads = threads;
            expect_close(run("local_correlation", call), wanted, isa + " local_correlation");
        }
        Call sampling = {{call.inputs[0], call.inputs[2]}, {}, {}, 1};
        set_isa("scalar");
        const auto features = run("sample_features", sampling);
        set_isa(isa);
        sampling.threads = 3;
        expect_close(run("sample_features", sampling), features, isa + " sample_features");
    }
    for (std::int64_t shared : {1, 5, 16, 33}) {
        for (std::int64_t width : {1, 8, 21}) {
            CostVolume problem(width % 8 + 1, width, 2 * shared, shared);
            set_isa("scalar");
            const auto wanted = run("cost_volume_track", problem.call);
            set_isa(isa);
            for (std::int64_t threads : {1, 3}) {
                problem.call.threads = threads;
                expect_close(run("cost_volume_track", problem.call), wanted, isa + " cost_volume_track");
            }
        }
    }
    for (std::int64_t width : {1, 20, 63}) {
        const std::int64_t height = 30;
        std::vector<float> before(static_cast<std::size_t>(height * width * 3)), after = before;
        for (std::int64_t i = 0; i < height * width; ++i) {
            const float x = static_cast<float>(i % width), y = static_cast<float>(i / width);
            for (std::int64_t c = 0; c < 3; ++c) {
                before[static_cast<std::size_t>(3 * i + c)] = std::sin(0.4f * x) * std::cos(0.3f * y);
                after[static_cast<std::size_t>(3 * i + c)] = std::sin(0.4f * x - 0.2f) * std::cos(0.3f * y);
            }
        }
        const auto xy = uniform(80, 2, 18);
        Call call = {{tensor(before.data(), DType::float32, {height, width, 3}),
                      tensor(after.data(), DType::float32, {height, width, 3}),
                      tensor(xy.data(), DType::float32, {40, 2})},
                     {4, 3},
                     {},
                     1};
        set_isa("scalar");
        const auto wanted = run("lucas_kanade", call);
        set_isa(isa);
        for (std::int64_t threads : {1, 3}) {
            call.threads = threads;
            expect_close(run("lucas_kanade", call), wanted, isa + " lucas_kanade");
        }
    }
    for (std::int64_t width : {1, 2, 5, 31, 64, 333, 2000}) {
        std::vector<std::uint8_t> image(static_cast<std::size_t>(40 * width * 3));
        for (auto& each : image) each = static_cast<std::uint8_t>(generator());
        Call call = {{tensor(image.data(), DType::uint8, {40, width, 3})}, {17, 50}, {}, 1};
        set_isa("scalar");
        const auto wanted = run("resize_normalize", call);
        set_isa(isa);
        for (std::int64_t threads : {1, 3}) {
            call.threads = threads;
            expect_close(run("resize_normalize", call), wanted, isa + " resize_normalize");
        }
    }
}

}  // namespace

int main() {
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        test_known_values();
        test_against_scalar(isa);
        test_mixer(isa);
        std::printf("%s: passed\n", isa.c_str());
    }
}
