// Dense int8 convolutions on AMX tiles, for few channels: exact int32 sums of a few output rows at
// a time, which whoever asked for them turns into codes while they are in the first-level cache.
//
// A tile holds 16 neighbouring output pixels by up to 64 bytes of input. The taps of one row of the
// filter are neighbours in an NHWC map, so 3 taps of 16 channels are one product, not three; this
// is what oneDNN's kernels, which go tap by tap, leave on the table.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned.h"
#include "kernels/cpu/direct_amx.h"

namespace ftt::cpu {

class DirectConv {
 public:
  // Whether this CPU, build and operating system have AMX.
  static bool Available();
  // Whether the shape is one for these kernels rather than oneDNN's.
  static bool Suits(const DirectShape& shape);

  // weights: [out_c][kernel][kernel][in_c]. Throws ftt::Error where sizes are not positive.
  DirectConv(const DirectShape& shape, const int8_t* weights);

  // Scratch memory of one thread.
  struct Scratch {
    AlignedBytes staged, acc;
    DirectShape shape = {.in_h = 0};  // whose borders lie in `staged`
  };

  // x: images [in_h][in_w][in_c], read as max(x, 0) with relu. Calls
  // rows(acc, image, first_row, rows, row_step): sums of output rows [first_row, first_row + rows)
  // as [rows][row_step], of which the first out_w * out_c count. `rows` must not convolve.
  template <typename Rows>
  void Run(const int8_t* x, int images, bool relu, Scratch& scratch, const Rows& rows) const {
    const DirectShape& s = plan_.shape;
    const Session session(plan_);
    for (int image = 0; image < images; ++image, x += int64_t{s.in_h} * s.in_w * s.in_c) {
      Stage(x, relu, scratch);
      for (int first = 0; first < s.out_h; first += plan_.block_rows) {
        const int count = first + plan_.block_rows <= s.out_h ? plan_.block_rows : s.out_h - first;
        rows(Block(first, count, scratch), image, first, count,
             int64_t{plan_.row_pixels} * s.out_c);
      }
    }
  }

 private:
  // Holds the tiles while it lives.
  class Session {
   public:
    explicit Session(const DirectPlan& plan);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

   private:
    TileConfig previous_;
  };

  void Stage(const int8_t* x, bool relu, Scratch& scratch) const;
  const int32_t* Block(int first_row, int rows, Scratch& scratch) const;

  DirectPlan plan_;
  std::vector<int64_t> offsets_;
  AlignedBytes weights_;  // [block][part][part_bytes / 4][16 channels][4]
};

}  // namespace ftt::cpu
