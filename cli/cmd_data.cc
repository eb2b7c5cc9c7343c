// `ftt-cuda data`: get, check and look at data sets.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"
#include "data/check.h"
#include "data/contact_sheet.h"
#include "data/dataset.h"
#include "data/fetch.h"
#include "data/formats.h"

namespace ftt {
namespace {

struct DataOptions {
  std::string fetch_name, fetch_dir;
  std::string check_spec;
  std::string show_spec, show_out;
  int show_count = 10, show_zoom = 2;
  std::string dump_spec, dump_out;
  int64_t dump_count = 0;
};

void Fetch(const DataOptions& o) {
  const char* variable = std::getenv("FTT_DATA_DIR");
  const std::string usual = variable != nullptr && *variable != '\0' ? variable : "data";
  FetchOptions options;
  options.progress = ::isatty(STDERR_FILENO) != 0;
  options.say = [](const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); };
  const std::string folder =
      FetchDataset(o.fetch_name, o.fetch_dir.empty() ? usual : o.fetch_dir, options);
  std::printf("%s", Format(CheckDataset(o.fetch_name, folder)).c_str());
}

void Check(const DataOptions& o) {
  // NAME:DIR, NAME or a folder; a folder with a colon in its name is one if it is there.
  const std::string name = o.check_spec.substr(0, o.check_spec.find(':'));
  const auto& names = DatasetNames();
  const bool named = std::find(names.begin(), names.end(), name) != names.end();
  const DatasetReport report = named && !IsDirectory(o.check_spec)
                                   ? CheckDataset(name, ParseDatasetSpec(o.check_spec).rest)
                                   : CheckDataset("", o.check_spec);
  std::printf("%s", Format(report).c_str());
  FTT_CHECK(report.Ok(), "{}: {} of its checks failed: {}", report.folder, report.problems.size(),
            report.problems.front());
}

void Show(const DataOptions& o) {
  const Dataset data = LoadDataset(o.show_spec);
  const auto indices = FirstOfEachClass(data.train, data.classes, o.show_count);
  FTT_CHECK(!indices.empty(), "data set {}: a class has no images to show", o.show_spec);
  const std::string sheet = ContactSheet(data.train, indices, data.classes, o.show_zoom);
  AtomicWriteFile(o.show_out, sheet);
  std::printf("%s: %zu training images of %s, one class per column:", o.show_out.c_str(),
              indices.size(), data.name.c_str());
  for (const std::string& name : data.class_names) std::printf(" %s", name.c_str());
  std::printf("\n");
}

void Dump(const DataOptions& o) {
  const ImageSet images = LoadDataset(o.dump_spec).test;
  const int64_t count = o.dump_count > 0 ? std::min(o.dump_count, images.Size()) : images.Size();
  AtomicWriteFile(o.dump_out, CifarRecords(images, count));
  std::printf("%s: %lld test images of %dx%dx%d\n", o.dump_out.c_str(),
              static_cast<long long>(count), images.height, images.width, images.channels);
}

}  // namespace

std::function<int()> SetUpData(CLI::App& app) {
  auto options = std::make_shared<DataOptions>();
  app.require_subcommand(1);
  SetExamples(app,
              "  ftt-cuda data fetch cifar10 data           # download, verify and unpack CIFAR-10 "
              "into data/\n"
              "  ftt-cuda data check cifar10:data           # verify what lies there\n"
              "  ftt-cuda data show shapes --out shapes.ppm # look at the built-in images\n"
              "  ftt-cuda data dump shapes --out test.bin   # test images for other programs\n\n"
              "Data sets: shapes[:TRAIN,TEST] is computed and needs no files (10000,2000 images of "
              "32x32 if not "
              "stated); cifar10, cifar100, mnist and fashion-mnist are read from NAME:DIR, else "
              "from the folder in "
              "FTT_DATA_DIR, else from ./data.");

  CLI::App* fetch = app.add_subcommand(
      "fetch", "Download CIFAR (160 MB), verify its checksum and unpack it into DIR");
  fetch->add_option("NAME", options->fetch_name, "cifar10 or cifar100")->required();
  fetch->add_option("DIR", options->fetch_dir,
                    "where to put it; without: the folder in FTT_DATA_DIR, else ./data");

  CLI::App* check = app.add_subcommand(
      "check",
      "Verify sizes, labels, class balance and checksums; exit code 2 if something is wrong");
  check->add_option("DATASET", options->check_spec, "NAME, NAME:DIR, or DIR alone")->required();

  CLI::App* show = app.add_subcommand(
      "show", "Write the first training images of each class as one PPM picture");
  show->add_option("NAME", options->show_spec, "NAME[:DIR]")->required();
  show->add_option("--count", options->show_count, "images of each class, 1..1000")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  show->add_option("--zoom", options->show_zoom, "side of a pixel in the picture, 1..16")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  show->add_option("--out", options->show_out, "file to write (.ppm)")->required();

  CLI::App* dump = app.add_subcommand(
      "dump",
      "Write test images as CIFAR-10 records: a byte with the label, then the channels' planes");
  dump->add_option("NAME", options->dump_spec, "NAME[:DIR]")->required();
  dump->add_option("--count", options->dump_count, "first images only; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  dump->add_option("--out", options->dump_out, "file to write (.bin)")->required();

  return [options, fetch, check, dump] {
    if (fetch->parsed()) {
      Fetch(*options);
    } else if (check->parsed()) {
      Check(*options);
    } else if (dump->parsed()) {
      Dump(*options);
    } else {
      Show(*options);
    }
    return kExitSuccess;
  };
}

}  // namespace ftt
