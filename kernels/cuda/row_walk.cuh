// Items of a table in steps, without a division for each.
#pragma once

#include "kernels/cuda/device.h"

namespace ftt::cuda {

// Every `step`th item from `first` on of rows of `columns` items.
struct RowWalk {
  int row, at;

  __device__ RowWalk(int first, int step, int columns)
      : row(first / columns),
        at(first - row * columns),
        row_step_(step / columns),
        step_(step - row_step_ * columns),
        columns_(columns) {}
  __device__ __forceinline__ void Next() {
    row += row_step_;
    at += step_;
    if (at < columns_) return;
    at -= columns_;
    ++row;
  }

 private:
  int row_step_, step_, columns_;
};

}  // namespace ftt::cuda
