// The shape of a depthwise convolution: one k x k filter per channel.
#pragma once

namespace ftt::cpu {

// Feature maps are NHWC without padding: x is [images][in_h][in_w][channels], y
// [images][out_h][out_w][channels]; weights are [channels][kernel][kernel].
struct DepthwiseShape {
  int images = 1;
  int in_h = 1, in_w = 1, out_h = 1, out_w = 1, channels = 1;
  int kernel = 3;  // 1..5
  int stride = 1;  // 1..2
  int pad = 1;
  int dilation = 1;
};

}  // namespace ftt::cpu
