// The ends of a step that are not feature maps: images -> codes, dropout, faults of the logits.
#pragma once

#include <cstdint>

#include "data/moves.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

inline constexpr int kMaxInputChannels = 4;

struct EncodeArguments {
  MapShape shape;                     // at most kMaxInputChannels channels
  const uint8_t* pixels = nullptr;    // [images or more][h][w][channels], the same for all lanes
  const uint32_t* indices = nullptr;  // [images], of `pixels`; null: the first ones
  // [images]; null: images as they are. The border shows the image mirrored at its edge, or black;
  // a square of `cutout` pixels is painted with `fill`. As MakeBatch of data/augment.h.
  const ImageMoves* moves = nullptr;
  bool reflect = true;
  int cutout = 0;
  uint8_t fill[kMaxInputChannels] = {};
  const int8_t* table = nullptr;  // [channels][256]: the code of a pixel
  int8_t* codes = nullptr;        // out: [lanes][Pixels()][Stride()]
};
// Images -> codes. Throws ftt::Error on more channels.
void Encode(const EncodeArguments& arguments, DeviceStream stream);

struct DropoutArguments {
  int images = 1, features = 1;
  float probability = 0;
  uint64_t seed = 0;
  const uint32_t* step = nullptr;       // one, device memory
  const uint32_t* image_ids = nullptr;  // [images], device memory
  uint8_t* keep = nullptr;              // out: [images][features], 1 keeps
};
// The draws of TrainExecutor on the host.
void Dropout(const DropoutArguments& arguments, DeviceStream stream);

// unit[lane] = scale * 2^(x_exponent[lane] + weight exponent), the LinearArguments' unit.
struct UnitArguments {
  int lanes = 1;
  float scale = 1;
  const int* x_exponent = nullptr;       // [lanes]
  const int* weight_exponent = nullptr;  // one; null: 0
  float* unit = nullptr;                 // out: [lanes]
};
void LaneUnits(const UnitArguments& arguments, DeviceStream stream);

struct LogitFaultArguments {
  int lanes = 1, images = 1, classes = 1;  // at most 1024 classes
  int bits = 8;
  SiteFaultsView faults;
  float* logits = nullptr;  // [lanes][images][classes], in place
};
// InjectLogits of faults/inject.h.
void InjectLogits(const LogitFaultArguments& arguments, DeviceStream stream);

}  // namespace ftt::cuda
