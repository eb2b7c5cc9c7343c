// Own gradients of dense convolutions against plain loops. Operands are small multiples of a
// quarter, so that every sum is exact in float32 and results must be equal; they end where memory
// ends, so that reading too far crashes.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "core/error.h"
#include "kernels/cpu/dense_gradient.h"
#include "tests/kernels/cpu_conv_naive.h"

namespace ftt::cpu {
namespace {

// A copy that ends at the end of a page, with no memory behind it.
template <typename T>
class AtTheEdge {
 public:
  explicit AtTheEdge(const std::vector<T>& values) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = values.size() * sizeof(T), whole = (bytes + page - 1) / page * page;
    size_ = whole + page;
    base_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + whole, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + whole - bytes);
    std::memcpy(data_, values.data(), bytes);
  }
  ~AtTheEdge() { munmap(base_, size_); }
  AtTheEdge(const AtTheEdge&) = delete;
  AtTheEdge& operator=(const AtTheEdge&) = delete;

  T* Data() const { return data_; }

 private:
  char* base_;
  T* data_;
  size_t size_;
};

std::string Name(const ConvShape& s) {
  return fmt::format("{}x{}x{}x{} -> {}x{}x{} k{} s{} d{} p{}", s.images, s.in_h, s.in_w, s.in_c,
                     s.out_h, s.out_w, s.out_c, s.kernel, s.stride, s.dilation, s.pad);
}

ConvShape Padded(ConvShape s, int pad) {
  s.pad = pad;
  s.out_h = (s.in_h + 2 * pad - s.dilation * (s.kernel - 1) - 1) / s.stride + 1;
  s.out_w = (s.in_w + 2 * pad - s.dilation * (s.kernel - 1) - 1) / s.stride + 1;
  return s;
}

std::vector<ConvShape> Shapes() {
  std::vector<ConvShape> shapes{SameShape(1, 1, 1, 1, 1, 1),
                                SameShape(1, 1, 1, 16, 17, 3),
                                SameShape(2, 5, 7, 3, 16, 3),
                                SameShape(1, 32, 32, 3, 20, 3),
                                SameShape(3, 9, 9, 3, 7, 5, 2),
                                SameShape(2, 9, 9, 17, 7, 3),
                                SameShape(2, 9, 9, 20, 20, 5),
                                SameShape(1, 17, 31, 16, 24, 3),
                                SameShape(2, 8, 8, 24, 40, 3, 2),
                                SameShape(2, 7, 5, 7, 20, 3, 2),
                                SameShape(1, 9, 9, 41, 13, 3, 3),
                                SameShape(5, 4, 4, 33, 31, 3),
                                SameShape(2, 9, 9, 20, 16, 3, 1, 2),
                                SameShape(1, 9, 11, 8, 9, 3, 2, 2),
                                SameShape(1, 2, 2, 70, 65, 3),
                                SameShape(30, 4, 4, 9, 11, 3),
                                SameShape(2, 9, 9, 12, 10, 1, 2),
                                Padded(SameShape(2, 6, 6, 5, 6, 2), 0),
                                Padded(SameShape(1, 8, 9, 6, 5, 3), 0),
                                Padded(SameShape(1, 4, 4, 6, 5, 3), 2),
                                Padded(SameShape(1, 5, 5, 6, 5, 1), 1)};
  for (const int in : {1, 8, 20, 24, 25, 40, 57, 144}) {
    for (const int out : {1, 5, 8, 13, 20, 24, 40, 200}) {
      shapes.push_back(SameShape(5, 9, 11, in, out, 1));
    }
  }
  return shapes;
}

// Multiples of a quarter.
std::vector<float> Quarters(size_t count, unsigned seed) {
  std::vector<float> values;
  for (const int8_t code : RandomCodes(count, -8, 8, seed)) values.push_back(0.25f * code);
  return values;
}

// Of the packed sums of one call or several, added piece by piece to zeros.
std::vector<double> Unpacked(const DenseWeightGradient& gradient, const float* diff_w,
                             size_t count) {
  std::vector<float> out(count, 0.0f);
  const auto end = static_cast<int64_t>(count);
  const int64_t piece = 3 * gradient.PieceUnit();
  for (int64_t first = (end - 1) / piece * piece; first >= 0; first -= piece)
    gradient.AddTo(diff_w, first, std::min(end, first + piece), 1.0f, nullptr, out.data());
  return {out.begin(), out.end()};
}

class DenseGradients : public testing::Test {
 protected:
  void SetUp() override {
    if (!DenseGradientsAvailable()) GTEST_SKIP() << "this CPU has no AVX2, or better than it";
  }
};

TEST_F(DenseGradients, OfWeightsAreThoseOfTheDefinition) {
  DenseScratch scratch;
  for (const ConvShape& s : Shapes()) {
    const auto x = RandomCodes(s.InElements(), -20, 20, 1);
    const auto dy = Quarters(s.OutElements(), 2);
    const AtTheEdge<int8_t> codes(x);
    const AtTheEdge<float> diff_y(dy);
    for (const bool relu : {false, true}) {
      const auto want = NaiveBackwardWeights(s, x, relu, dy);
      const AtTheEdge<float> sums(std::vector<float>(want.size(), NAN));
      const DenseWeightGradient gradient(s);
      gradient.Run(codes.Data(), relu, s.images, diff_y.Data(), sums.Data(), scratch);
      ASSERT_EQ(Unpacked(gradient, sums.Data(), want.size()), want) << Name(s) << " relu " << relu;
    }
  }
}

TEST_F(DenseGradients, OfWeightsOfSeveralCallsCanBeAdded) {
  const ConvShape s = SameShape(4, 9, 9, 16, 30, 1);
  const auto x = RandomCodes(s.InElements(), -20, 20, 1);
  const auto dy = Quarters(s.OutElements(), 2);
  const DenseWeightGradient gradient(s);
  DenseScratch scratch;
  std::vector<float> first(s.WeightElements()), second(s.WeightElements());
  gradient.Run(x.data(), false, 1, dy.data(), first.data(), scratch);
  gradient.Run(x.data() + s.InElements() / 4, false, 3, dy.data() + s.OutElements() / 4,
               second.data(), scratch);
  for (size_t i = 0; i < first.size(); ++i) first[i] += second[i];
  EXPECT_EQ(Unpacked(gradient, first.data(), first.size()), NaiveBackwardWeights(s, x, false, dy));
}

TEST_F(DenseGradients, OfWeightsAreAddedInUnitsWhereTheyAreKept) {
  for (const ConvShape& s : {SameShape(2, 5, 5, 8, 20, 3), SameShape(2, 5, 5, 20, 8, 1)}) {
    const auto x = RandomCodes(s.InElements(), -20, 20, 1);
    const auto dy = Quarters(s.OutElements(), 2);
    const DenseWeightGradient gradient(s);
    DenseScratch scratch;
    const size_t n = s.WeightElements();
    std::vector<float> sums(n), got(n, 3.0f);
    gradient.Run(x.data(), false, s.images, dy.data(), sums.data(), scratch);
    std::vector<uint8_t> keep(n);
    for (size_t i = 0; i < n; ++i) keep[i] = static_cast<uint8_t>(i % 3 != 0);
    gradient.AddTo(sums.data(), 0, static_cast<int64_t>(n), 0.5f, keep.data(), got.data());
    const auto whole = NaiveBackwardWeights(s, x, false, dy);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(got[i], i % 3 == 0 ? 3.0 : 3.0 + 0.5 * whole[i]) << i;
  }
}

TEST_F(DenseGradients, OfDataAreThoseOfTheDefinition) {
  DenseScratch scratch;
  for (const ConvShape& s : Shapes()) {
    const auto w = RandomCodes(s.WeightElements(), -20, 20, 3);
    const auto dy = Quarters(s.OutElements(), 4);
    auto want = NaiveBackwardData(s, dy, w);
    for (double& v : want) v *= 0.5;
    const AtTheEdge<float> diff_y(dy), got(std::vector<float>(want.size(), NAN));
    const DenseDataGradient gradient(s, w.data(), 0.5f);
    gradient.Run(diff_y.Data(), s.images, got.Data(), scratch);
    ASSERT_EQ(std::vector<double>(got.Data(), got.Data() + want.size()), want) << Name(s);
  }
}

TEST_F(DenseGradients, SizesMustBePositiveAndGroupsOne) {
  const int8_t weight = 1;
  ConvShape s = SameShape(1, 4, 4, 4, 4, 3, 1, 1, 4);
  EXPECT_THROW(DenseWeightGradient{s}, Error);
  EXPECT_THROW(DenseDataGradient(s, &weight, 1.0f), Error);
  s.groups = 1;
  s.in_c = 0;
  EXPECT_THROW(DenseWeightGradient{s}, Error);
}

}  // namespace
}  // namespace ftt::cpu
