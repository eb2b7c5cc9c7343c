#include "engine/networks/networks.h"

#include <filesystem>

#include "core/error.h"
#include "engine/networks/fixed.h"

namespace ftt {
namespace {

Program BuildWFttNet(Shape input, int classes) {
  CellNetOptions options;
  options.preprocess = "relu_conv_bn_3x3";
  Program program = BuildCellNetwork(WFttGenotype(), options, input, classes);
  program.network = "w-ftt-net";
  return program;
}

}  // namespace

const Genotype& WFttGenotype() {
  static const Genotype genotype = ParseGenotype(
      "normal_0=[('relu_conv_bn_3x3', 0, 2), ('relu_conv_bn_5x5', 0, 2), ('conv_1x1', 1, 3), "
      "('dil_conv_3x3', 1, 3), ('sep_conv_3x3', 1, 4), ('sep_conv_3x3', 0, 4), "
      "('max_pool_3x3', 2, 5), ('relu_conv_bn_5x5', 1, 5)], "
      "reduce_1=[('skip_connect', 0, 2), ('relu_conv_bn_5x5', 1, 2), ('dil_conv_3x3', 2, 3), "
      "('sep_conv_3x3', 0, 3), ('max_pool_3x3', 1, 4), ('conv_1x1', 3, 4), "
      "('dil_conv_3x3', 4, 5), ('skip_connect', 2, 5)]");
  return genotype;
}

const std::vector<NetworkEntry>& Networks() {
  static const std::vector<NetworkEntry> table = {
      {"resnet-20", "CIFAR ResNet, 16-32-64 channels, 1x1 shortcuts; 0.27 M parameters",
       BuildResNet20},
      {"resnet-18", "64-128-256-512 channels; 11.2 M parameters, 1.11 GFLOPs", BuildResNet18},
      {"vgg-16", "with batch norm; 14.7 M parameters, 626 MFLOPs", BuildVgg16},
      {"mobilenet-v2", "CIFAR form, ReLU; 2.3 M parameters, 182 MFLOPs", BuildMobileNetV2},
      {"w-ftt-net", "the reference's genotype for weight faults, 8 cells of 20 channels",
       BuildWFttNet},
      {"tiny-cnn", "one op of each kind, for tests and first runs", BuildTinyCnn},
  };
  return table;
}

Program BuildNetwork(const std::string& name_or_file, Shape input, int classes,
                     const CellNetOptions& options) {
  FTT_CHECK(input.h >= 8 && input.w >= 8,
            "network {}: the images are {}x{} pixels; at least 8x8 are needed", name_or_file,
            input.h, input.w);
  std::string known;
  for (const NetworkEntry& entry : Networks()) {
    if (name_or_file == entry.name) return entry.build(input, classes);
    known += std::string(entry.name) + ", ";
  }
  if (name_or_file.find('[') != std::string::npos) {
    return BuildCellNetwork(ParseGenotype(name_or_file), options, input, classes);
  }
  std::error_code ignored;
  FTT_CHECK(std::filesystem::is_regular_file(name_or_file, ignored),
            "unknown network '{}'; known: {}or the path of a genotype file, and there is no such "
            "file",
            name_or_file, known);
  return BuildCellNetwork(ReadGenotypeFile(name_or_file), options, input, classes);
}

int64_t Flops(const Program& program) { return 2 * program.MultiplyAdds(); }

std::string NetworkSummary(const Program& program) {
  const Shape& in = program.InputShape();
  const auto flops = static_cast<double>(Flops(program));
  const auto params = static_cast<double>(program.ParamCount());
  return fmt::format("{}: {:.1f} MFLOPs, {:.3f} M parameters, {} ops, input {}x{}x{}, {} classes",
                     program.network, flops * 1e-6, params * 1e-6, program.ops.size(), in.h, in.w,
                     in.c, program.classes);
}

}  // namespace ftt
