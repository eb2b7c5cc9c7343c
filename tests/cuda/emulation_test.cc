// The emulation itself: what hardware leaves undefined must be reported, and the matrix
// instruction must follow the PTX ISA's layout.
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "kernels/cuda/device.h"

namespace ftt::cuda::test {
namespace {

// The message of the error that the launch ends in; empty without one.
template <typename... Parameters, typename... Arguments>
std::string ErrorOf(void (*kernel)(Parameters...), unsigned threads, size_t shared,
                    const Arguments&... arguments) {
  std::string message;
  try {
    LaunchKernel("TestKernel", kernel, {1, 1, 1}, threads, shared, 0, arguments...);
  } catch (const Error& error) {
    message = error.what();
  }
  emulation::Timeline::WaitForAll();
  return message;
}

__global__ void NoStartKernel(int started) {
  if (static_cast<int>(threadIdx.x) < started) StartKernel();
}
TEST(CudaEmulationTest, ThreadThatNeverCallsStartKernel) {
  EXPECT_EQ(ErrorOf(&NoStartKernel, 64, 0, 64), "");
  const std::string error = ErrorOf(&NoStartKernel, 64, 0, 63);
  EXPECT_NE(error.find("thread 63 (63, 0, 0): ended without having called StartKernel"),
            std::string::npos)
      << error;
}

__global__ void HalfBarrierKernel() {
  StartKernel();
  if (threadIdx.x < 32) SyncThreads();
}
TEST(CudaEmulationTest, BarrierThatSomeNeverReach) {
  const std::string error = ErrorOf(&HalfBarrierKernel, 64, 0);
  EXPECT_NE(error.find("deadlock: kernel TestKernel, block (0, 0, 0), thread"), std::string::npos)
      << error;
}

__global__ void HalfShuffleKernel() {
  StartKernel();
  if (threadIdx.x < 16) Shuffle(1, 0);
}
TEST(CudaEmulationTest, ShuffleWithAThreadThatEnded) {
  EXPECT_NE(ErrorOf(&HalfShuffleKernel, 32, 0).find("deadlock"), std::string::npos);
}

__global__ void SharedOverrunKernel(int at) {
  StartKernel();
  if (threadIdx.x == 0) SharedMemory()[at] = 1;
}
TEST(CudaEmulationTest, WriteBehindSharedMemory) {
  EXPECT_EQ(ErrorOf(&SharedOverrunKernel, 32, 64, 63), "");
  EXPECT_NE(ErrorOf(&SharedOverrunKernel, 32, 64, 64).find("behind its end"), std::string::npos);
}

__global__ void CopyKernel(const uint8_t* from, uint8_t* before, uint8_t* after, bool wait) {
  StartKernel();
  AsyncCopy16(SharedMemory(), from, 12);
  AsyncCommit();
  *before = SharedMemory()[0];
  if (wait) AsyncWait<0>();
  *after = static_cast<uint8_t>(SharedMemory()[11] + SharedMemory()[12]);
}
TEST(CudaEmulationTest, AsyncCopyIsVisibleOnlyAfterTheWait) {
  alignas(16) const uint8_t from[16] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 9, 9, 9, 9, 9};
  uint8_t before = 0, after = 0;
  const uint8_t* source = from;
  EXPECT_EQ(ErrorOf(&CopyKernel, 1, 16, source, &before, &after, true), "");
  EXPECT_EQ(before, emulation::kInFlightSentinel);
  EXPECT_EQ(after, 9);  // byte 12 is zero-filled
  EXPECT_NE(ErrorOf(&CopyKernel, 1, 16, source, &before, &after, false).find("not waited for"),
            std::string::npos);
}

// a[m][k], b[k][n] with every byte loaded as the ISA's figures place it.
__global__ void MatrixKernel(const int8_t* a, const int8_t* b, int32_t* d) {
  StartKernel();
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  uint32_t fragment_a[4] = {}, fragment_b[2] = {};
  int32_t acc[4] = {};
  for (int i = 0; i < 16; ++i) {
    const int row = (i < 4 || (i >= 8 && i < 12)) ? g : g + 8;
    const int column = t * 4 + (i & 3) + (i < 8 ? 0 : 16);
    fragment_a[i / 4] |= uint32_t{static_cast<uint8_t>(a[row * 32 + column])} << i % 4 * 8;
  }
  for (int i = 0; i < 8; ++i) {
    const int row = t * 4 + (i & 3) + (i < 4 ? 0 : 16);
    fragment_b[i / 4] |= uint32_t{static_cast<uint8_t>(b[row * 8 + g])} << i % 4 * 8;
  }
  MultiplyAccumulate(acc, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(i < 2 ? g : g + 8) * 8 + t * 2 + (i & 1)] = acc[i];
}
TEST(CudaEmulationTest, MatrixInstructionMultiplies) {
  int8_t a[16 * 32], b[32 * 8];
  for (int i = 0; i < 16 * 32; ++i) a[i] = static_cast<int8_t>(i * 37 % 256 - 128);
  for (int i = 0; i < 32 * 8; ++i) b[i] = static_cast<int8_t>(i * 91 % 256 - 128);
  int32_t d[16 * 8] = {};
  const int8_t *pa = a, *pb = b;
  int32_t* pd = d;
  ASSERT_EQ(ErrorOf(&MatrixKernel, 32, 0, pa, pb, pd), "");
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      int32_t want = 0;
      for (int k = 0; k < 32; ++k) want += a[m * 32 + k] * b[k * 8 + n];
      EXPECT_EQ(want, d[m * 8 + n]) << m << ' ' << n;
    }
  }
}

// a[m][k] row by row, b[k][n] row by row: one plain and two transposing loads, then the product.
__global__ void Bf16Kernel(const float* a, const float* b, float* d) {
  StartKernel();
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  auto* plain = reinterpret_cast<uint16_t*>(SharedMemory());  // a: [16][16]
  uint16_t* turned = plain + 256;                             // a, transposed
  uint16_t* right = turned + 256;                             // b: [16][8], pitch 16
  for (int i = lane; i < 256; i += 32) {
    plain[i] = static_cast<uint16_t>(PackBf16(a[i], 0));
    turned[i % 16 * 16 + i / 16] = static_cast<uint16_t>(PackBf16(a[i], 0));
    right[i] = static_cast<uint16_t>(i % 16 < 8 ? PackBf16(b[i / 16 * 8 + i % 16], 0) : 0);
  }
  SyncThreads();
  uint32_t f[4], turned_f[4], columns[4];
  LoadMatrix4(plain + lane % 16 * 16 + lane / 16 * 8, f);
  LoadMatrix4Transposed(turned + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8, turned_f);
  LoadMatrix4Transposed(right + lane % 16 * 16 + lane / 16 * 8, columns);
  const uint32_t b_fragment[2] = {columns[0], columns[1]};
  float acc[4] = {};
  MultiplyAccumulateBf16(acc, f, b_fragment);
  MultiplyAccumulateBf16(acc, turned_f, b_fragment);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = acc[i];
}
TEST(CudaEmulationTest, Bf16InstructionMultiplies) {
  float a[16 * 16], b[16 * 8], d[16 * 8] = {};
  for (int i = 0; i < 16 * 16; ++i) a[i] = static_cast<float>(i * 37 % 256 - 128);
  for (int i = 0; i < 16 * 8; ++i) b[i] = static_cast<float>(i * 91 % 256 - 128);
  const float *pa = a, *pb = b;
  float* pd = d;
  ASSERT_EQ(ErrorOf(&Bf16Kernel, 32, 1536, pa, pb, pd), "");
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      float want = 0;
      for (int k = 0; k < 16; ++k) want += a[m * 16 + k] * b[k * 8 + n];
      EXPECT_EQ(2 * want, d[m * 8 + n]) << m << ' ' << n;
    }
  }
}

TEST(CudaEmulationTest, Bf16RoundsToNearestEven) {
  EXPECT_EQ(PackBf16(1.0f, -2.0f), 0xC0003F80u);
  EXPECT_EQ(PackBf16(0x1.01p0f, 0x1.03p0f), 0x3F823F80u);  // ties go to even
  EXPECT_EQ(PackBf16(0x1.0101p0f, 0x1.00FFp0f), 0x3F803F81u);
  EXPECT_EQ(PackBf16(0x1.FFp127f, 0x1.FDp127f), 0x7F7E7F80u);  // to infinity
}

}  // namespace
}  // namespace ftt::cuda::test
