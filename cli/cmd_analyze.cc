#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "campaign/analysis.h"
#include "campaign/summary.h"
#include "cli/campaign_options.h"
#include "cli/commands.h"
#include "cli/config_args.h"
#include "cli/help.h"
#include "cli/program.h"
#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

constexpr const char* kViews[] = {"layer",     "kind",  "edge", "bit",
                                  "layer-bit", "width", "clip", "plan"};

struct AnalyzeCommand {
  std::string fault, by = "layer,kind,bit,plan";
  int plan_steps = 6;
  CampaignOptions campaign;
};

// One line of a table: what was struck and how accurate the network was.
struct Line {
  std::string name;
  PointSummary summary;
  MeanEstimate gain;  // accuracy over that with faults everywhere, trial by trial
  int64_t cost = 0;   // of protecting it; 0: none
};

std::string IntervalText(const MeanEstimate& e) {
  if (e.count < 2) return "one trial";
  return fmt::format("{:6.2f} ..{:6.2f}", 100 * e.interval.low, 100 * e.interval.high);
}

class Analysis {
 public:
  Analysis(const AnalyzeCommand& o, Device& device, CampaignStore& store, const Dataset& data,
           Campaign& campaign)
      : o_(o), device_(device), store_(store), data_(data), campaign_(campaign) {}

  // Everything --by asks for, of every network. False when it was stopped.
  bool Run();
  const nlohmann::ordered_json& Json() const { return json_; }

 private:
  bool Network(size_t network);
  bool Layers(size_t network);
  bool Parts(size_t network, const std::string& view, const std::vector<NetworkPart>& parts);
  bool Bits(size_t network);
  bool LayerBits(size_t network);
  // The curve with faults in one bit only; none where a model has no key for it.
  std::optional<FaultCurve> BitCurve(int bit) const;
  bool Variants(size_t network, const std::string& view);
  bool Plan(size_t network);
  // All networks under the same faults, the smallest first.
  void Capacity();

  bool Wants(const std::string& view) const {
    const std::vector<std::string> views = SplitList(o_.by);
    return std::find(views.begin(), views.end(), view) != views.end();
  }
  SweepPoint Point(size_t network, const FaultCurve& curve, const NetworkPart& part) const {
    return PartPoint(network, Program_(network), curve, 1, part);
  }
  const Program& Program_(size_t network) const {
    return campaign_.Network(network).trained.model.program;
  }
  bool Measure(const std::vector<SweepPoint>& points) {
    return RunWithProgress(campaign_, points, o_.campaign.json);
  }
  std::vector<TrialRow> TrialsOf(const Campaign& campaign, const SweepPoint& point) const;
  Line MakeLine(const Campaign& campaign, const SweepPoint& point, const std::string& name) const;
  void Print(const std::string& title, const std::vector<Line>& lines, size_t network,
             const std::string& view);

  const AnalyzeCommand& o_;
  Device& device_;
  CampaignStore& store_;
  const Dataset& data_;
  Campaign& campaign_;
  FaultCurve curve_{o_.fault};
  FaultSpec faults_ = curve_.At(1);
  // Of the network in hand.
  std::vector<TrialRow> everywhere_;
  std::vector<size_t> layers_;
  std::vector<double> protect_gain_;
  std::vector<PointSummary> capacity_;  // of each network, faults everywhere
  nlohmann::ordered_json json_ = nlohmann::ordered_json::array();
};

std::vector<TrialRow> Analysis::TrialsOf(const Campaign& campaign, const SweepPoint& point) const {
  for (const PointRow& row : store_.Points()) {
    if (row.network == campaign.Row(point.network).id && row.fault == point.faults.Text() &&
        row.scope == point.scope)
      return store_.Trials(row.id);
  }
  return {};
}

Line Analysis::MakeLine(const Campaign& campaign, const SweepPoint& point,
                        const std::string& name) const {
  const std::vector<TrialRow> trials = TrialsOf(campaign, point);
  const double confidence = o_.campaign.sweep.confidence;
  Line line{
      name, Summarise(trials, campaign.Row(point.network), campaign.Images(), confidence), {}, 0};
  if (!everywhere_.empty())
    line.gain = PairedDifference(trials, everywhere_, campaign.Images(), confidence);
  return line;
}

void Analysis::Print(const std::string& title, const std::vector<Line>& lines, size_t network,
                     const std::string& view) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const bool gains =
      std::any_of(lines.begin(), lines.end(), [](const Line& l) { return l.gain.count > 0; });
  if (!o_.campaign.json) {
    fmt::print("\n{}\n{:<34} {:>8}  {:>16}  {:>8} {:>8}{}\n", title, "", "acc %", "interval",
               "SDC-1 %", "masked %", gains ? "  gained points" : "");
  }
  for (const Line& l : lines) {
    const MeanEstimate& a = l.summary.accuracy;
    rows.push_back({{"name", l.name},
                    {"accuracy", a.mean},
                    {"trials", a.count},
                    {"sdc1", l.summary.sdc1.mean},
                    {"masked", l.summary.masked.mean}});
    if (a.count > 1) rows.back()["interval"] = {a.interval.low, a.interval.high};
    if (l.gain.count > 0) rows.back()["gain"] = l.gain.mean;
    if (l.cost > 0) rows.back()["cost"] = l.cost;
    if (o_.campaign.json) continue;
    fmt::print("{:<34} {:>8.2f}  {:>16}  {:>8.2f} {:>8.2f}", l.name, 100 * a.mean, IntervalText(a),
               100 * l.summary.sdc1.mean, 100 * l.summary.masked.mean);
    if (l.gain.count > 0) fmt::print("  {:+13.2f}", 100 * l.gain.mean);
    if (l.cost > 0) fmt::print("  {:>12}", l.cost);
    fmt::print("\n");
  }
  json_.push_back({{"network", campaign_.Row(network).name}, {"by", view}, {"rows", rows}});
}

// Faults only in one layer, and everywhere but there.
bool Analysis::Layers(size_t network) {
  const Program& program = Program_(network);
  std::vector<SweepPoint> only, protect;
  for (const size_t op : layers_) {
    only.push_back(Point(network, curve_, {"only:" + program.ops[op].name, {op}}));
    protect.push_back(Point(network, curve_, Protecting(program, layers_, {op})));
  }
  std::vector<SweepPoint> points = only;
  points.insert(points.end(), protect.begin(), protect.end());
  if (!Measure(points)) return false;
  std::vector<Line> only_lines, protect_lines;
  protect_gain_.clear();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string& name = program.ops[layers_[i]].name;
    only_lines.push_back(MakeLine(campaign_, only[i], name));
    only_lines.back().gain = {};
    protect_lines.push_back(MakeLine(campaign_, protect[i], name));
    protect_lines.back().cost =
        ProtectionCost(campaign_.Network(network).trained, faults_, layers_[i]);
    protect_gain_.push_back(protect_lines.back().gain.mean);
  }
  if (Wants("layer")) {
    Print("faults in this layer only", only_lines, network, "layer");
    Print(fmt::format("this layer protected, faults everywhere else; last column: {}",
                      StrikesWeights(faults_) ? "weight bits" : "multiply-adds"),
          protect_lines, network, "layer-protected");
  }
  return true;
}

bool Analysis::Parts(size_t network, const std::string& view,
                     const std::vector<NetworkPart>& parts) {
  std::vector<SweepPoint> points;
  for (const NetworkPart& part : parts) points.push_back(Point(network, curve_, part));
  if (!Measure(points)) return false;
  std::vector<Line> lines;
  for (size_t i = 0; i < parts.size(); ++i) {
    lines.push_back(
        MakeLine(campaign_, points[i], parts[i].scope.substr(parts[i].scope.find(':') + 1)));
    lines.back().gain = {};
  }
  Print("faults in this " + view + " only", lines, network, view);
  return true;
}

std::optional<FaultCurve> Analysis::BitCurve(int bit) const {
  try {
    return FaultCurve(fmt::format("{},bit={}", curve_.Text(), bit));
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool Analysis::Bits(size_t network) {
  std::vector<SweepPoint> points;
  const int bits = campaign_.Network(network).trained.model.bits;
  for (int bit = 0; bit < bits; ++bit) {
    const std::optional<FaultCurve> curve = BitCurve(bit);
    if (!curve) {
      fmt::print(stderr, "by bit: {} has no key bit=K; left out\n", curve_.Text());
      return true;
    }
    points.push_back(Point(network, *curve, {}));
    points.back().scope.clear();
  }
  if (!Measure(points)) return false;
  std::vector<Line> lines;
  for (size_t i = 0; i < points.size(); ++i) {
    const bool sign = static_cast<int>(i) == bits - 1;
    lines.push_back(
        MakeLine(campaign_, points[i], fmt::format("bit {}{}", i, sign ? " (sign)" : "")));
    lines.back().gain = {};
  }
  Print("faults in this bit only, with the same rate", lines, network, "bit");
  return true;
}

bool Analysis::LayerBits(size_t network) {
  const Program& program = Program_(network);
  const int bits = campaign_.Network(network).trained.model.bits;
  if (!BitCurve(0)) {
    fmt::print(stderr, "by layer and bit: {} has no key bit=K; left out\n", curve_.Text());
    return true;
  }
  std::vector<SweepPoint> points;
  for (const NetworkPart& part : LayerParts(program, layers_)) {
    for (int bit = 0; bit < bits; ++bit) points.push_back(Point(network, *BitCurve(bit), part));
  }
  if (!Measure(points)) return false;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  if (!o_.campaign.json) {
    fmt::print("\naccuracy in percent with faults in this layer and bit only\n{:<34}", "");
    for (int bit = 0; bit < bits; ++bit) fmt::print(" {:>6}", fmt::format("bit {}", bit));
    fmt::print("\n");
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string& name = program.ops[layers_[i]].name;
    std::vector<double> accuracies;
    for (int bit = 0; bit < bits; ++bit) {
      const SweepPoint& p = points[i * static_cast<size_t>(bits) + static_cast<size_t>(bit)];
      accuracies.push_back(MakeLine(campaign_, p, name).summary.accuracy.mean);
    }
    rows.push_back({{"name", name}, {"accuracy", accuracies}});
    if (o_.campaign.json) continue;
    fmt::print("{:<34}", name);
    for (const double a : accuracies) fmt::print(" {:6.2f}", 100 * a);
    fmt::print("\n");
  }
  json_.push_back({{"network", campaign_.Row(network).name}, {"by", "layer-bit"}, {"rows", rows}});
  return true;
}

// The network deployed with other widths of codes, or with clipped weights.
bool Analysis::Variants(size_t network, const std::string& view) {
  const CampaignNetwork& own = campaign_.Network(network);
  std::string path = o_.campaign.checkpoints[network];
  const size_t equals = path.find('=');
  if (!PathExists(path) && equals != std::string::npos) path = path.substr(equals + 1);
  std::vector<Line> lines;
  const bool width = view == "width";
  const std::vector<double> values =
      width ? std::vector<double>{8, 7, 6, 5, 4} : std::vector<double>{1, 0.75, 0.5, 0.35, 0.25};
  std::vector<CampaignNetwork> variants;
  for (const double v : values) {
    variants.push_back(
        {fmt::format("{} {}", own.name,
                     width ? fmt::format("{:g} bits", v) : fmt::format("clip {:g}", v)),
         Redeploy(device_, path, data_, width ? static_cast<int>(v) : own.trained.model.bits,
                  width ? 1 : v)});
  }
  SweepConfig config = o_.campaign.sweep;
  config.version = FTT_VERSION;
  Campaign campaign(device_, store_, data_, o_.campaign.limit, std::move(variants), config);
  const std::vector<SweepPoint> points = SweepPoints(values.size(), {curve_}, {});
  if (!RunWithProgress(campaign, points, o_.campaign.json)) return false;
  std::vector<TrialRow> everywhere;
  everywhere.swap(everywhere_);
  for (const SweepPoint& p : points) {
    const Line line = MakeLine(campaign, p, "");
    lines.push_back(line);
    lines.back().name = fmt::format("{}, clean {:.2f} %", campaign.Network(p.network).name,
                                    100 * line.summary.golden_accuracy);
  }
  everywhere.swap(everywhere_);
  Print(width ? "codes of other widths, calibrated anew"
              : "weights clipped at a share of the largest",
        lines, network, view);
  return true;
}

// Which layers to protect first, and what that brings when they are protected together.
bool Analysis::Plan(size_t network) {
  const TrainedNetwork& trained = campaign_.Network(network).trained;
  const Program& program = Program_(network);
  std::vector<int64_t> cost;
  for (const size_t op : layers_) cost.push_back(ProtectionCost(trained, faults_, op));
  const std::vector<size_t> order = HardeningOrder(layers_, protect_gain_, cost);
  int64_t total = 0;
  for (const int64_t c : cost) total += c;
  const size_t steps = std::min<size_t>(static_cast<size_t>(o_.plan_steps), order.size());
  std::vector<SweepPoint> points;
  for (size_t k = 1; k <= steps; ++k)
    points.push_back(
        Point(network, curve_,
              Protecting(program, layers_,
                         {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k)})));
  if (!Measure(points)) return false;
  std::vector<Line> lines;
  nlohmann::ordered_json note = nlohmann::ordered_json::array();
  int64_t spent = 0;
  for (size_t k = 0; k < steps; ++k) {
    spent += ProtectionCost(trained, faults_, order[k]);
    lines.push_back(MakeLine(campaign_, points[k], "+ " + program.ops[order[k]].name));
    lines.back().cost = spent;
    note.push_back({{"layer", program.ops[order[k]].name},
                    {"scope", points[k].scope},
                    {"cost", spent},
                    {"total_cost", total},
                    {"unit", StrikesWeights(faults_) ? "weight bits" : "multiply-adds"}});
  }
  store_.SetNote(fmt::format("plan {} {}", campaign_.Row(network).name, faults_.Text()),
                 note.dump());
  Print(fmt::format("hardening plan: layers in the order of accuracy gained per {}, protected "
                    "together; last column: {} protected, of {}",
                    StrikesWeights(faults_) ? "weight bit" : "multiply-add",
                    StrikesWeights(faults_) ? "weight bits" : "multiply-adds", total),
        lines, network, "plan");
  return true;
}

bool Analysis::Network(size_t network) {
  const TrainedNetwork& trained = campaign_.Network(network).trained;
  const Program& program = trained.model.program;
  layers_ = StruckLayers(trained, faults_);
  FTT_CHECK(!layers_.empty(), "{}: {} strikes nothing in this network", campaign_.Row(network).name,
            faults_.Text());
  everywhere_.clear();
  const std::vector<SweepPoint> all = {[&] {
    SweepPoint p = Point(network, curve_, {});
    p.scope.clear();
    return p;
  }()};
  if (!Measure(all)) return false;
  Line line = MakeLine(campaign_, all[0], "everywhere");
  everywhere_ = TrialsOf(campaign_, all[0]);
  capacity_.push_back(line.summary);
  const NetworkRow& row = campaign_.Row(network);
  Print(fmt::format("{}: {} multiply-adds, {} parameters, trained with {}, clean accuracy {:.2f} % "
                    "on {} images; {}",
                    row.name, row.multiply_adds, row.parameters, row.trained_with,
                    100 * line.summary.golden_accuracy, campaign_.Images(), faults_.Text()),
        {line}, network, "everywhere");
  if ((Wants("layer") || Wants("plan")) && !Layers(network)) return false;
  if (Wants("kind") && !Parts(network, "kind", KindParts(program, layers_))) return false;
  if (Wants("edge") && !Parts(network, "edge", EdgeParts(program, layers_))) return false;
  if (Wants("bit") && !Bits(network)) return false;
  if (Wants("layer-bit") && !LayerBits(network)) return false;
  for (const char* view : {"width", "clip"}) {
    if (Wants(view) && !Variants(network, view)) return false;
  }
  return !Wants("plan") || Plan(network);
}

void Analysis::Capacity() {
  std::vector<size_t> order(capacity_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return campaign_.Row(a).parameters < campaign_.Row(b).parameters;
  });
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  if (!o_.campaign.json) {
    fmt::print(
        "\ncapacity: networks under {}, the smallest first\n{:<24} {:>8} {:>12} {:>14} "
        "{:>8} {:>8}  {:>16}  {:>6}\n",
        faults_.Text(), "", "channels", "parameters", "multiply-adds", "clean %", "acc %",
        "interval", "kept %");
  }
  for (const size_t network : order) {
    const NetworkRow& row = campaign_.Row(network);
    const NetworkSpec& spec = campaign_.Network(network).trained.spec;
    const MeanEstimate& a = capacity_[network].accuracy;
    const double clean = capacity_[network].golden_accuracy;
    const double kept = clean > 0 ? a.mean / clean : 0;
    rows.push_back({{"name", row.name},
                    {"parameters", row.parameters},
                    {"multiply_adds", row.multiply_adds},
                    {"clean_accuracy", clean},
                    {"accuracy", a.mean},
                    {"kept", kept}});
    if (!spec.genotype.empty()) rows.back()["init_channels"] = spec.cell.init_channels;
    if (o_.campaign.json) continue;
    fmt::print("{:<24} {:>8} {:>12} {:>14} {:>8.2f} {:>8.2f}  {:>16}  {:>6.1f}\n", row.name,
               !spec.genotype.empty() ? std::to_string(spec.cell.init_channels) : "-",
               row.parameters, row.multiply_adds, 100 * clean, 100 * a.mean, IntervalText(a),
               100 * kept);
  }
  json_.push_back({{"by", "capacity"}, {"rows", rows}});
}

bool Analysis::Run() {
  for (size_t network = 0; network < o_.campaign.checkpoints.size(); ++network) {
    if (!Network(network)) return false;
  }
  if (capacity_.size() > 1) Capacity();
  return true;
}

int Run(const AnalyzeCommand& command, const CLI::App& app) {
  const CampaignOptions& o = command.campaign;
  const FaultCurve curve(command.fault);
  FTT_CHECK(!curve.Open(), "--fault {}: give the rate, e.g. {}:1e-4", command.fault, command.fault);
  for (const std::string& view : SplitList(command.by)) {
    FTT_CHECK(
        std::find(std::begin(kViews), std::end(kViews), view) != std::end(kViews),
        "--by: unknown view '{}'; known: layer, kind, edge, bit, layer-bit, width, clip, plan",
        view);
  }
  FTT_CHECK(command.plan_steps >= 1, "--plan-steps: {} is below 1", command.plan_steps);
  std::vector<CampaignNetwork> networks = LoadNetworks(o);
  const Dataset data = LoadCampaignData(o, networks);
  SweepConfig config = o.sweep;
  config.version = FTT_VERSION;
  CheckCampaign(networks, SweepPoints(networks.size(), {curve}, {}), data, config);
  const std::unique_ptr<Device> device = OpenDevice(o.backend);
  CheckCampaignMemory(*device, networks, SweepPoints(networks.size(), {curve}, {}), config);
  const std::string file = CampaignFile(o.out);
  CampaignStore store(file, CampaignStore::Access::kCreate);
  Campaign campaign(*device, store, data, o.limit, std::move(networks), config);
  store.SetNote("analyze", ResolvedToml(app));
  Analysis analysis(command, *device, store, data, campaign);
  const bool finished = analysis.Run();
  if (!o.csv.empty()) AtomicWriteFile(o.csv, CampaignCsv(store));
  if (o.json) {
    fmt::print("{}\n", analysis.Json().dump());
  } else {
    fmt::print("\ncampaign: {}{}\n", file, finished ? "" : " (not finished)");
  }
  return kExitSuccess;
}

}  // namespace

std::function<int()> SetUpAnalyze(CLI::App& app) {
  const auto o = std::make_shared<AnalyzeCommand>();
  AddConfigOptions(app);
  o->campaign.sweep.trials = 5;
  AddCampaignOptions(app, o->campaign);
  app.add_option("--fault", o->fault, "Faults NAME:RATE[,key=value...], several joined by '+'")
      ->required()
      ->take_last();
  app.add_option("--by", o->by,
                 "Views, separated by commas: layer, kind (of op), edge (of a cell; or block), bit "
                 "(models with bit=K), layer-bit (both, a heat map), width (4 to 8 bits), clip (of "
                 "weights), plan (layers to "
                 "protect)")
      ->take_last();
  app.add_option("--plan-steps", o->plan_steps, "Layers that the hardening plan protects at most")
      ->take_last();
  SetExamples(
      app,
      "  ftt-cuda analyze runs/r20 --fault mibb:1e-4 --limit 1000 --lanes 5 --out camp\n"
      "  ftt-cuda analyze small=runs/a wide=runs/b --fault ibf-weight:1e-3 --by bit,width --out "
      "camp\n"
      "\nEvery view repeats the same fault seeds, so gains are differences trial by trial. With "
      "several\n"
      "checkpoints a last table, by size, says what capacity brings. `ftt-cuda report` draws the "
      "rest.");
  return [o, &app] { return Run(*o, app); };
}

}  // namespace ftt
