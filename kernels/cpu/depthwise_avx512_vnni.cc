#include "kernels/cpu/depthwise_backward_data.h"
#include "kernels/cpu/depthwise_backward_weights.h"
#include "kernels/cpu/depthwise_forward.h"
#include "kernels/cpu/depthwise_table.h"

namespace ftt::cpu {

const DepthwiseTable kDepthwiseAvx512Vnni = {
    .name = "avx512_vnni",
    .forward_weight_bytes = ForwardWeightBytes,
    .forward_scratch_bytes = ForwardScratchBytes,
    .backward_data_weight_bytes = BackwardDataWeightBytes,
    .backward_data_scratch_bytes = BackwardDataScratchBytes,
    .backward_weights_scratch_bytes = BackwardWeightsScratchBytes,
    .pack_forward = PackForward,
    .forward = Forward,
    .pack_backward_data = PackBackwardData,
    .backward_data = BackwardData,
    .backward_weights = BackwardWeights,
};

}  // namespace ftt::cpu
