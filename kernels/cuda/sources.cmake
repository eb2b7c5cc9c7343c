# Device code: compiled by nvcc in kernels/cuda, and as C++ in tests/cuda_emulation.
set(FTT_CUDA_SOURCES
  backward.cu
  conv.cu
  conv_backward.cu
  conv_data_grad.cu
  depthwise.cu
  depthwise_backward.cu
  head.cu
  input.cu
  norm.cu
  optimizer.cu
  pack.cu
  pool.cu
  pool_backward.cu
  probe.cu
  quantize.cu
  separable.cu
  strikes.cu
  sum.cu
  unfused.cu
  weight_reduce.cu
  weights.cu)
# Other libraries that benchmarks compare with.
set(FTT_CUDA_PEERS cublas_peer.cc cudnn_peer.cc kernel_trace.cc)
