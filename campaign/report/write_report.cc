#include "campaign/report/write_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <set>

#include "campaign/report/campaign_page.h"
#include "campaign/report/charts_gnuplot.h"
#include "campaign/report/format.h"
#include "campaign/report/page.h"
#include "campaign/report/run_pages.h"
#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace fs = std::filesystem;
namespace {

constexpr char kCampaignFile[] = "campaign.sqlite";

// Absolute, without "." and a slash at the end.
fs::path Resolved(const std::string& path) {
  std::error_code code;
  fs::path resolved = fs::weakly_canonical(path, code);
  FTT_CHECK(!code, "cannot resolve {}: {}", path, code.message());
  return resolved.has_filename() ? resolved : resolved.parent_path();
}

struct Inputs {
  std::vector<RunRecord> runs;
  std::vector<std::string> run_names;
  std::vector<Section> sections;  // of all inputs, in their order
};

void ReadInput(const std::string& path, const std::string& name, Inputs* inputs) {
  FTT_CHECK(PathExists(path), "{}: does not exist; give run folders or campaigns", path);
  if (!IsDirectory(path)) {
    inputs->sections.push_back(CampaignSection(ReadCampaign(path), name));
    return;
  }
  const bool run = HoldsRun(path);
  const std::string campaign = path + "/" + kCampaignFile;
  FTT_CHECK(run || PathExists(campaign),
            "{}: is neither a run (no config.toml of `search` or `train`) nor a campaign (no {})",
            path, kCampaignFile);
  if (run) {
    inputs->runs.push_back(ReadRun(path));
    inputs->run_names.push_back(name);
    const RunRecord& record = inputs->runs.back();
    inputs->sections.push_back(record.is_search ? SearchSection(record, name)
                                                : TrainSection(record, name));
  }
  if (PathExists(campaign))
    inputs->sections.push_back(
        CampaignSection(ReadCampaign(campaign), run ? name + "/" + kCampaignFile : name));
}

void CheckDistinct(const std::vector<std::string>& paths) {
  std::set<fs::path> seen;
  for (const std::string& path : paths)
    FTT_CHECK(seen.insert(Resolved(path)).second, "{}: is given twice", path);
}

// Fails before anything is drawn.
void CheckOutput(const std::string& out) {
  FTT_CHECK(!IsDirectory(out), "--out {}: is a folder; give the name of a file", out);
  const std::string parent = fs::path(out).parent_path().string();
  CheckWritableDir(parent.empty() ? "." : parent);
}

struct Image {
  std::string path, script;
};

template <typename Item>
void AddImages(const Item& item, const Section& section, const ReportOptions& options,
               std::set<std::string>* used, std::vector<Image>* images) {
  const std::string stem = Slug(section.name) + "-" + Slug(item.title);
  std::string name = stem;
  for (int i = 2; !used->insert(name).second; ++i) name = fmt::format("{}-{}", stem, i);
  if (!options.svg.empty())
    images->push_back({options.svg + "/" + name + ".svg", GnuplotScript(item, ImageFormat::kSvg)});
  if (!options.png.empty())
    images->push_back({options.png + "/" + name + ".png", GnuplotScript(item, ImageFormat::kPng)});
}

std::vector<Image> ImagesOf(const Report& report, const ReportOptions& options) {
  std::vector<Image> images;
  std::set<std::string> used;
  for (const Section& s : report.sections) {
    for (const Block& b : s.blocks) {
      if (const auto* chart = std::get_if<Chart>(&b)) AddImages(*chart, s, options, &used, &images);
      if (const auto* map = std::get_if<HeatMap>(&b)) AddImages(*map, s, options, &used, &images);
    }
  }
  return images;
}

}  // namespace

std::vector<std::string> ShortNames(const std::vector<std::string>& paths) {
  std::vector<fs::path> rest, names;
  for (const std::string& path : paths) {
    rest.push_back(Resolved(path));
    names.push_back(rest.back().filename());
    // The usual name of a campaign says nothing.
    if (names.back() == kCampaignFile && rest.back().has_parent_path())
      names.back() = rest.back().parent_path().filename();
  }
  for (size_t depth = 2; depth < 64; ++depth) {
    std::vector<fs::path> longer = names;
    bool changed = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (std::count(names.begin(), names.end(), names[i]) < 2) continue;
      fs::path head = rest[i];
      longer[i] = head.filename();
      for (size_t k = 1; k < depth && head.parent_path() != head; ++k) {
        head = head.parent_path();
        if (!head.filename().empty()) longer[i] = head.filename() / longer[i];
      }
      changed = changed || longer[i] != names[i];
    }
    if (!changed) break;
    names = longer;
  }
  return {names.begin(), names.end()};
}

Report ReadReport(const ReportOptions& options) {
  FTT_CHECK(!options.inputs.empty(), "give at least one run folder or campaign");
  CheckDistinct(options.inputs);
  const std::vector<std::string> names = ShortNames(options.inputs);
  Inputs inputs;
  inputs.runs.reserve(options.inputs.size());
  for (size_t i = 0; i < names.size(); ++i) ReadInput(options.inputs[i], names[i], &inputs);
  Report report;
  report.title = options.title;
  if (report.title.empty())
    report.title = names.size() == 1 ? names[0] : fmt::format("{} runs", names.size());
  report.made = fmt::format("Made by ftt-cuda {} on {:%Y-%m-%d}", FTT_VERSION,
                            fmt::localtime(std::time(nullptr)));
  std::vector<const RunRecord*> trainings;
  std::vector<std::string> training_names;
  for (size_t i = 0; i < inputs.runs.size(); ++i) {
    if (!inputs.runs[i].train) continue;
    trainings.push_back(&inputs.runs[i]);
    training_names.push_back(inputs.run_names[i]);
  }
  if (trainings.size() > 1) report.overview.push_back(TrainingTable(trainings, training_names));
  report.sections = std::move(inputs.sections);
  return report;
}

WrittenReport WriteReport(const ReportOptions& options) {
  CheckOutput(options.out);
  for (const std::string* dir : {&options.svg, &options.png}) {
    if (!dir->empty()) CheckWritableDir(*dir);
  }
  const Report report = ReadReport(options);
  WrittenReport written;
  written.sections = report.sections.size();
  for (const Section& s : report.sections)
    written.charts +=
        static_cast<size_t>(std::count_if(s.blocks.begin(), s.blocks.end(), [](const Block& b) {
          return std::holds_alternative<Chart>(b) || std::holds_alternative<HeatMap>(b);
        }));
  std::vector<std::string> bytes;
  const std::vector<Image> images = ImagesOf(report, options);
  for (const Image& image : images) bytes.push_back(RunGnuplot(image.script));
  for (const std::string* dir : {&options.svg, &options.png}) {
    if (!dir->empty()) EnsureWritableDir(*dir);
  }
  for (size_t i = 0; i < images.size(); ++i) {
    AtomicWriteFile(images[i].path, bytes[i]);
    written.images.push_back(images[i].path);
  }
  const std::string parent = fs::path(options.out).parent_path().string();
  if (!parent.empty()) EnsureWritableDir(parent);
  AtomicWriteFile(options.out, PageHtml(report));
  return written;
}

}  // namespace ftt
