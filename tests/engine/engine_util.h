// A small network with every kind of op, images for it, and a frozen model of it.
#pragma once

#include "core/philox.h"
#include "engine/device.h"
#include "engine/genotype.h"
#include "engine/networks/networks.h"
#include "engine/trainer.h"

namespace ftt::test {

// A genotype that has every primitive.
inline constexpr char kEveryOp[] =
    "normal_0=[('sep_conv_3x3', 0, 2), ('sep_conv_5x5', 1, 2), ('dil_conv_3x3', 0, 3), "
    "('dil_conv_5x5', 2, 3), "
    "('max_pool_3x3', 1, 4), ('avg_pool_3x3', 3, 4), ('none', 0, 5), ('skip_connect', 4, 5)], "
    "reduce_1=[('relu_conv_bn_3x3', 0, 2), ('relu_conv_bn_5x5', 1, 2), ('conv_1x1', 1, 3), "
    "('skip_connect', 0, 3), "
    "('max_pool_3x3', 0, 4), ('avg_pool_3x3', 1, 4), ('none', 2, 5), ('none', 0, 5)]";

inline Program EveryOpNetwork(Shape input = {16, 16, 3}) {
  CellNetOptions options;
  options.init_channels = 4;
  options.cells = 3;
  options.stem_multiplier = 1;
  return BuildCellNetwork(ParseGenotype(kEveryOp), options, input, 10);
}

inline ImageSet Noise(const Shape& s, int count) {
  ImageSet images;
  images.height = s.h;
  images.width = s.w;
  images.channels = s.c;
  PhiloxSequence draws(3, Stream::kShapes, 5);
  images.pixels.resize(static_cast<size_t>(count * s.Elements()));
  for (uint8_t& p : images.pixels) p = static_cast<uint8_t>(draws.Next());
  for (int i = 0; i < count; ++i) images.labels.push_back(static_cast<uint8_t>(i % 10));
  return images;
}

inline DeployModel FreshModel(Device& device, const Program& program, const ImageSet& images) {
  ParamStore params(9);
  const InputCoding coding({0.5f, 0.4f, 0.45f}, {0.25f, 0.2f, 0.22f}, 8);
  const auto executor = device.NewTrainExecutor(params, coding, {});
  return Freeze(program, params, coding, Calibrate(*executor, program, images, images.Size(), 4),
                8);
}

inline std::unique_ptr<Device> HostDevice(const char* name, int threads = 2) {
  return MakeHostDevice(MakeBackend(name, threads));
}

}  // namespace ftt::test
