#include "search/state.h"

#include "core/error.h"

namespace ftt {

const StateTensor& FindState(const StateDict& state, const std::string& name,
                             const std::vector<int64_t>& shape) {
  for (const StateTensor& tensor : state) {
    if (tensor.name != name) continue;
    bool fits = tensor.shape.size() == shape.size();
    int64_t elements = 1;
    for (size_t i = 0; fits && i < shape.size(); ++i) {
      fits = tensor.shape[i] == shape[i] || (shape[i] == -1 && tensor.shape[i] >= 0);
      elements *= tensor.shape[i];
    }
    FTT_CHECK(
        fits && elements == static_cast<int64_t>(tensor.values.size()),
        "search state: tensor '{}' has another shape; the checkpoint belongs to a search with "
        "other options",
        name);
    return tensor;
  }
  Fail("search state: tensor '{}' is missing; the checkpoint belongs to another kind of search",
       name);
}

}  // namespace ftt
