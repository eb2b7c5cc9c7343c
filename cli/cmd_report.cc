#include <fmt/format.h>

#include <memory>

#include "campaign/report/write_report.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/program.h"

namespace ftt {

std::function<int()> SetUpReport(CLI::App& app) {
  const auto o = std::make_shared<ReportOptions>();
  AddConfigOptions(app);
  app.add_option(
         "RUN", o->inputs,
         "Run folders of `search` and `train`, and campaigns (campaign.sqlite or its folder)")
      ->required()
      ->option_text("RUN|CAMPAIGN...");
  app.add_option("--out", o->out, "The page: one HTML file that needs nothing else");
  app.add_option("--svg", o->svg, "Also write each chart as SVG into this folder (with gnuplot)");
  app.add_option("--png", o->png, "Also write each chart as PNG into this folder (with gnuplot)");
  app.add_option("--title", o->title, "Title of the page; default: the name of the run");
  SetExamples(
      app,
      "  ftt-cuda report runs/mibb                                # report.html of a search\n"
      "  ftt-cuda report runs/mibb runs/with runs/without --out compared.html\n"
      "  ftt-cuda report runs/sweep/campaign.sqlite --svg figures # charts for a paper\n"
      "\nThe page fetches nothing from a network and works on phones, in dark mode and "
      "printed. A run\nthat is not finished is reported as far as it is. Cells are drawn "
      "where Graphviz is installed.");
  return [o] {
    const WrittenReport w = WriteReport(*o);
    fmt::print("report: {} ({} section{}, {} charts)\n", o->out, w.sections,
               w.sections == 1 ? "" : "s", w.charts);
    for (const std::string& image : w.images) fmt::print("chart: {}\n", image);
    return kExitSuccess;
  };
}

}  // namespace ftt
