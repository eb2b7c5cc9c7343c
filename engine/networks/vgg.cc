// VGG-16 with batch norm, and the small network of tests.
#include <string>

#include "core/error.h"
#include "engine/networks/fixed.h"

namespace ftt {

Program BuildVgg16(Shape input, int classes) {
  struct Stage {
    int channels, convs;
  };
  constexpr Stage kStages[] = {{64, 2}, {128, 2}, {256, 3}, {512, 3}, {512, 3}};
  ProgramBuilder builder("vgg-16", input, classes);
  ProgramBuilder::ConvOptions conv;
  conv.kernel = 3;
  ProgramBuilder::PoolOptions pool;
  pool.kernel = pool.stride = 2;
  pool.pad = 0;
  pool.relu = true;
  int x = 0;
  bool pending_relu = false;
  for (int s = 0; s < 5; ++s) {
    for (int c = 0; c < kStages[s].convs; ++c) {
      conv.relu = pending_relu;
      x = builder.Conv(fmt::format("stage{}.conv{}", s + 1, c + 1), x, kStages[s].channels, conv);
      pending_relu = true;
    }
    const Shape& map = builder.ShapeOf(x);
    if (map.h < 2 || map.w < 2) continue;
    x = builder.Pool(fmt::format("stage{}.pool", s + 1), PoolKind::kMax, x, pool);
    pending_relu = false;
  }
  const Shape& map = builder.ShapeOf(x);
  // A mean over one pixel would only write the same codes to the feature buffer once more.
  const bool flat = map.h == 1 && map.w == 1 && !pending_relu;
  builder.Linear("classifier", flat ? x : builder.GlobalPool("pool", {x, pending_relu}));
  return std::move(builder).Finish();
}

Program BuildTinyCnn(Shape input, int classes) {
  ProgramBuilder builder("tiny-cnn", input, classes);
  ProgramBuilder::ConvOptions dense;
  dense.kernel = 3;
  const int stem = builder.Conv("stem", 0, 8, dense);
  ProgramBuilder::ConvOptions depthwise;
  depthwise.kernel = 3;
  depthwise.stride = 2;
  depthwise.depthwise = true;
  depthwise.relu = true;
  depthwise.batch_norm = false;
  const int dw = builder.Conv("block1.dw", stem, 0, depthwise);
  ProgramBuilder::ConvOptions pointwise;
  const int pw = builder.Conv("block1.pw", dw, 16, pointwise);
  ProgramBuilder::PoolOptions pooling;
  pooling.batch_norm = true;
  const int average = builder.Pool("block2.average", PoolKind::kAverage, pw, pooling);
  const int sum = builder.Add("block2.sum", {{pw, true}, {average, false}});
  pooling.stride = 2;
  pooling.batch_norm = false;
  pooling.relu = true;
  const int maximum = builder.Pool("block3.max", PoolKind::kMax, sum, pooling);
  ProgramBuilder::ConvOptions odd;
  odd.stride = 2;
  odd.offset = 1;
  odd.relu = true;
  odd.batch_norm = false;
  odd.bias = true;
  const int offset = builder.Conv("block3.odd", sum, 15, odd);
  const int joined = builder.Concat("block3.join", {{maximum, false}, {offset, false}});
  builder.Linear("classifier", builder.GlobalPool("pool", {joined, true}));
  return std::move(builder).Finish();
}

}  // namespace ftt
