// Decides raw crops with a bundle's graph, without Python. OpenVINO's Python package brings headers
// and libraries; OV is its folder (python -c "import openvino; print(openvino.__path__[0])").
//
//   g++ -std=c++17 -O2 decide.cpp -o decide -I$OV/include -L$OV/libs \
//       -l:$(basename $OV/libs/libopenvino.so.*) -Wl,-rpath,$OV/libs -Wl,-rpath-link,$OV/libs
//   ./decide cherries.bundle/fp32.onnx LOW HIGH LIMIT SIDE crop.raw...
//
// LOW and HIGH are the function's thresholds in bundle.json, LIMIT its limit of distance there (unknown.functions; -
// where the bundle takes everything for known), SIDE is input.size. A crop is SIDE * SIDE * 3
// bytes: rows from the top, in each pixel the channels in the order of input.channels, 0 to 255.
// Prints a line per crop: file, score, lane. A fault is never "accept".

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

int main(int argc, char** argv) {
    if (argc < 7) {
        std::cerr << "usage: decide GRAPH.onnx LOW HIGH LIMIT SIDE CROP.raw...\n";
        return 2;
    }
    try {
        // Scores are compared as float32, the type that they were certified in.
        const float low = static_cast<float>(std::strtod(argv[2], nullptr));
        const float high = static_cast<float>(std::strtod(argv[3], nullptr));
        const bool is_limited = std::string(argv[4]) != "-";
        const float limit = is_limited ? static_cast<float>(std::strtod(argv[4], nullptr)) : 0;
        const size_t side = std::stoul(argv[5]);
        ov::Core core;
        // Left to itself OpenVINO takes bf16 where the processor has it: other scores.
        auto model = core.compile_model(argv[1], "CPU", ov::hint::inference_precision(ov::element::f32),
                                        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                                        ov::inference_num_threads(1));
        auto request = model.create_infer_request();
        std::cout.precision(std::numeric_limits<float>::max_digits10);
        for (int place = 6; place < argc; ++place) {
            std::ifstream file(argv[place], std::ios::binary);
            std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)), {});
            if (bytes.size() != side * side * 3) {
                std::cout << argv[place] << " - reject\n";  // unreadable or torn: never accept
                continue;
            }
            request.set_input_tensor(ov::Tensor(ov::element::u8, {1, side, side, 3}, bytes.data()));
            request.infer();
            const float score = request.get_tensor("score").data<float>()[0];
            const bool is_number = score >= -1e-6f && score <= 1 + 1e-6f;  // false for NaN
            const char* lane = !is_number ? "reject" : score >= high ? "reject" : score >= low ? "review" : "accept";
            // What is unlike all that was learnt from goes to unknown.lane, whatever its score; NaN does.
            if (is_number && is_limited && !(request.get_tensor("distance").data<float>()[0] <= limit)) lane = "review";
            std::cout << argv[place] << ' ' << score << ' ' << lane << '\n';
        }
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
    return 0;
}
