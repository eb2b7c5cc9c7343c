#include "campaign/analysis.h"

#include <gtest/gtest.h>

#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

TrainedNetwork Resnet() {
  TrainedNetwork net;
  net.model.program = BuildNetwork("resnet-20", {16, 16, 3}, 10);
  net.model.bits = 8;
  return net;
}

std::vector<std::string> Scopes(const std::vector<NetworkPart>& parts) {
  std::vector<std::string> scopes;
  for (const NetworkPart& p : parts) scopes.push_back(p.scope);
  return scopes;
}

TEST(AnalysisTest, FindsTheLayersThatFaultsStrike) {
  const TrainedNetwork net = Resnet();
  const Program& p = net.model.program;
  size_t convolutions = 0, weights = 0;
  for (const Op& op : p.ops) {
    convolutions += op.kind == OpKind::kConv ? 1 : 0;
    weights += op.weight >= 0 ? 1 : 0;
  }
  EXPECT_EQ(StruckLayers(net, ParseFaultSpec("mibb:1e-4")).size(), convolutions);
  EXPECT_EQ(StruckLayers(net, ParseFaultSpec("adsaf:0.08")).size(), convolutions);
  EXPECT_EQ(StruckLayers(net, ParseFaultSpec("ibf-weight:1e-3")).size(), weights);
  EXPECT_EQ(StruckLayers(net, ParseFaultSpec("ibf-feature:1e-3")).size(), p.ops.size() - 1);
  EXPECT_EQ(StruckLayers(net, ParseFaultSpec("ibf-feature:1e-3+ibf-weight:1e-3")).size(),
            p.ops.size());
}

TEST(AnalysisTest, PartsCoverEveryLayerOnce) {
  const TrainedNetwork net = Resnet();
  const Program& p = net.model.program;
  const std::vector<size_t> layers = StruckLayers(net, ParseFaultSpec("ibf-feature:1e-3"));
  for (const auto& parts : {LayerParts(p, layers), KindParts(p, layers), EdgeParts(p, layers)}) {
    std::vector<size_t> all;
    for (const NetworkPart& part : parts) all.insert(all.end(), part.ops.begin(), part.ops.end());
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, layers);
  }
  EXPECT_EQ(
      Scopes(KindParts(p, layers)),
      (std::vector<std::string>{"kind:conv3x3", "kind:add", "kind:conv1x1", "kind:global-pool"}));
  EXPECT_EQ(Scopes(EdgeParts(p, layers))[1], "edge:stage1.block1");
}

TEST(AnalysisTest, EdgesOfCells) {
  EXPECT_EQ(EdgeOf("cell3.n4.from1.sep_conv_3x3.dw1"), "cell3.n4.from1.sep_conv_3x3");
  EXPECT_EQ(EdgeOf("cell3.n4.from1.max_pool_3x3"), "cell3.n4.from1.max_pool_3x3");
  EXPECT_EQ(EdgeOf("cell3.n4"), "cell3.n4");
  EXPECT_EQ(EdgeOf("cell3.pre0.even"), "cell3.pre0");
  EXPECT_EQ(EdgeOf("stage1.block2.conv1"), "stage1.block2");
  EXPECT_EQ(EdgeOf("stem"), "stem");
}

TEST(AnalysisTest, ProtectionIsTheRest) {
  const TrainedNetwork net = Resnet();
  const Program& p = net.model.program;
  const std::vector<size_t> layers = StruckLayers(net, ParseFaultSpec("mibb:1e-4"));
  const NetworkPart part = Protecting(p, layers, {layers[2], layers[0]});
  EXPECT_EQ(part.scope, "protect:" + p.ops[layers[2]].name + "," + p.ops[layers[0]].name);
  EXPECT_EQ(part.ops.size(), layers.size() - 2);
  const SiteFilter filter = FilterOf(p, part);
  for (size_t i = 0; i < p.ops.size(); ++i) {
    const bool struck = std::find(part.ops.begin(), part.ops.end(), i) != part.ops.end();
    EXPECT_EQ(filter.weights[i] != 0, struck) << i;
    EXPECT_EQ(filter.features[static_cast<size_t>(p.ops[i].output)] != 0, struck) << i;
  }
  EXPECT_EQ(filter.features[0], 0);  // the first layer is protected
  EXPECT_EQ(FilterOf(p, LayerParts(p, {0})[0]).features[0], 1);
}

TEST(AnalysisTest, CostsAndOrder) {
  const TrainedNetwork net = Resnet();
  int64_t macs = 0, bits = 0;
  for (size_t i = 0; i < net.model.program.ops.size(); ++i) {
    if (net.model.program.ops[i].weight < 0) continue;
    macs += ProtectionCost(net, ParseFaultSpec("mibb:1e-4"), i);
    bits += ProtectionCost(net, ParseFaultSpec("ibf-weight:1e-4"), i);
  }
  EXPECT_EQ(macs, net.model.program.MultiplyAdds());
  EXPECT_GT(bits, 8 * 250'000);
  EXPECT_EQ(HardeningOrder({7, 8, 9, 10}, {0.1, 0.3, 0.1, -0.5}, {10, 300, 5, 1}),
            (std::vector<size_t>{9, 7, 8, 10}));
}

}  // namespace
}  // namespace ftt
