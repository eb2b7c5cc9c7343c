#include "faults/models.h"

#include "faults/model_list.h"

namespace ftt {

const char* SiteKindName(SiteKind kind) {
  switch (kind) {
    case SiteKind::kInput:
      return "input";
    case SiteKind::kConv:
      return "conv";
    case SiteKind::kPool:
      return "pool";
    case SiteKind::kAdd:
      return "add";
    case SiteKind::kConcat:
      return "concat";
    case SiteKind::kGlobalPool:
      return "global pool";
    case SiteKind::kConvWeight:
      return "conv weight";
    case SiteKind::kLinearWeight:
      return "linear weight";
    case SiteKind::kLogits:
      return "logits";
  }
  return "";
}

const std::vector<FaultModelInfo>& FaultModels() {
  static const std::vector<FaultModelInfo> models = {
#define FTT_FAULT_INFO(Model) Model::Info(),
      FTT_FAULT_MODELS(FTT_FAULT_INFO)
#undef FTT_FAULT_INFO
  };
  return models;
}

}  // namespace ftt
