#include "engine/network_spec.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "engine/genotype.h"
#include "engine/networks/networks.h"

namespace ftt {
namespace {
constexpr char kGenotype[] = "genotype";
}

Program NetworkSpec::Build() const {
  if (name != kGenotype) return BuildNetwork(name, input, classes);
  return BuildCellNetwork(ParseGenotype(genotype), cell, input, classes);
}

std::string NetworkSpec::Json() const {
  nlohmann::ordered_json j;
  j["name"] = name;
  j["input"] = {input.h, input.w, input.c};
  j["classes"] = classes;
  if (name == kGenotype) {
    j["genotype"] = genotype;
    j["init_channels"] = cell.init_channels;
    j["cells"] = cell.cells;
    j["stem_multiplier"] = cell.stem_multiplier;
    j["affine"] = cell.affine;
    j["preprocess"] = cell.preprocess;
    j["dropout"] = cell.dropout;
  }
  return j.dump();
}

NetworkSpec NetworkSpec::FromJson(const std::string& text, const std::string& where) {
  NetworkSpec spec;
  try {
    const auto j = nlohmann::json::parse(text);
    spec.name = j.at("name").get<std::string>();
    spec.input = {j.at("input").at(0).get<int>(), j.at("input").at(1).get<int>(),
                  j.at("input").at(2).get<int>()};
    spec.classes = j.at("classes").get<int>();
    if (spec.name == kGenotype) {
      spec.genotype = j.at("genotype").get<std::string>();
      spec.cell.init_channels = j.at("init_channels").get<int>();
      spec.cell.cells = j.at("cells").get<int>();
      spec.cell.stem_multiplier = j.at("stem_multiplier").get<int>();
      spec.cell.affine = j.at("affine").get<bool>();
      spec.cell.preprocess = j.at("preprocess").get<std::string>();
      spec.cell.dropout = j.at("dropout").get<float>();
    }
  } catch (const nlohmann::json::exception& e) {
    Fail(
        "{}: the description of the network is malformed ({}); the file is damaged or from another "
        "program",
        where, e.what());
  }
  return spec;
}

NetworkSpec ResolveNetwork(const std::string& name_or_file, const CellNetOptions& cell,
                           const Shape& input, int classes) {
  NetworkSpec spec;
  spec.input = input;
  spec.classes = classes;
  spec.cell = cell;
  if (PathExists(name_or_file)) {
    spec.name = kGenotype;
    spec.genotype = FormatGenotype(ReadGenotypeFile(name_or_file));
  } else {
    spec.name = name_or_file;
  }
  spec.Build();  // the error, if there is one, comes before anything is written
  return spec;
}

}  // namespace ftt
