#include "data/contact_sheet.h"

#include <algorithm>

#include "core/error.h"

namespace ftt {

std::string ContactSheet(const ImageSet& images, const std::vector<uint32_t>& indices, int columns,
                         int zoom) {
  FTT_CHECK(columns >= 1 && zoom >= 1,
            "contact sheet: {} columns at zoom {}; both must be at least 1", columns, zoom);
  FTT_CHECK(!indices.empty(), "contact sheet: no images to show");
  const int used = std::min<int>(columns, static_cast<int>(indices.size()));
  const int rows = (static_cast<int>(indices.size()) + used - 1) / used;
  const int cell_w = images.width * zoom + 1, cell_h = images.height * zoom + 1;
  const int width = used * cell_w + 1, height = rows * cell_h + 1;
  std::string sheet = fmt::format("P6\n{} {}\n255\n", width, height);
  const size_t header = sheet.size();
  sheet.resize(header + size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height), '\0');
  for (size_t i = 0; i < indices.size(); ++i) {
    FTT_CHECK(indices[i] < images.Size(), "contact sheet: image {} of {}", indices[i],
              images.Size());
    const uint8_t* image = images.Image(indices[i]);
    const int left = static_cast<int>(i) % used * cell_w + 1,
              top = static_cast<int>(i) / used * cell_h + 1;
    for (int y = 0; y < images.height * zoom; ++y) {
      char* out = sheet.data() + header + 3 * (int64_t{top + y} * width + left);
      for (int x = 0; x < images.width * zoom; ++x, out += 3) {
        const uint8_t* pixel =
            image + (int64_t{y / zoom} * images.width + x / zoom) * images.channels;
        for (int c = 0; c < 3; ++c) out[c] = static_cast<char>(pixel[images.channels == 3 ? c : 0]);
      }
    }
  }
  return sheet;
}

std::vector<uint32_t> FirstOfEachClass(const ImageSet& images, int classes, int rows) {
  std::vector<std::vector<uint32_t>> members(static_cast<size_t>(classes));
  for (size_t i = 0; i < images.labels.size(); ++i) {
    auto& list = members[images.labels[i]];
    if (list.size() < static_cast<size_t>(rows)) list.push_back(static_cast<uint32_t>(i));
  }
  std::vector<uint32_t> indices;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    for (const auto& list : members) {
      if (row >= list.size()) return indices;
      indices.push_back(list[row]);
    }
  }
  return indices;
}

}  // namespace ftt
