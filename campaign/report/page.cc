#include "campaign/report/page.h"

#include <fmt/format.h>

#include <cctype>

#include "campaign/report/charts_js.h"
#include "campaign/report/embedded.h"
#include "campaign/report/format.h"
#include "campaign/report/html.h"
#include "core/digest.h"

namespace ftt {
namespace {

std::string Base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k)
      text += k > bytes.size() - i ? '=' : kDigits[group >> (18 - 6 * k) & 63];
  }
  return text;
}

// How a content security policy names an inline script.
std::string ScriptHash(std::string_view script) {
  const std::string hex = Sha256Hex(script);
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return "'sha256-" + Base64(bytes) + "'";
}

std::string Element(const std::string& name, const std::string& attributes,
                    const std::string& text) {
  return fmt::format("<{}{}>{}</{}>\n", name, attributes, EscapeHtml(text), name);
}

std::string Note(const std::string& note) {
  return note.empty() ? "" : Element("p", " class=\"note\"", note);
}

std::string Details(const std::string& summary, const std::string& html, bool open = false) {
  return fmt::format("<details{}><summary>{}</summary>\n{}</details>\n", open ? " open" : "",
                     EscapeHtml(summary), html);
}

struct BlockWriter {
  std::string operator()(const Heading& h) const { return Element("h3", "", h.text); }

  std::string operator()(const Chart& c) const {
    std::string style;
    if (!c.categories.empty()) {
      const size_t bars = c.categories.size() * std::max<size_t>(c.series.size(), 1);
      style = fmt::format(" style=\"height:{:.1f}rem\"",
                          5.5 + 1.3 * static_cast<double>(std::max(bars, c.categories.size())));
    }
    return fmt::format(
        "<div class=\"block chart-block\"><figure><figcaption>{}{}</figcaption>\n"
        "<div class=\"chart\"{}><canvas data-chart role=\"img\" aria-label=\"{}; the table below "
        "has "
        "the numbers\"></canvas>"
        "<script type=\"application/json\">{}</script></div>\n</figure>\n{}</div>\n",
        EscapeHtml(c.title), Note(c.note), style, EscapeHtml(c.title), ChartJson(c),
        Details("Numbers of this chart", TableHtml(TableOf(c))));
  }

  std::string operator()(const HeatMap& m) const {
    return fmt::format("<div class=\"block\">{}{}{}</div>\n",
                       Element("p", " class=\"block-title\"", m.title + ": " + m.value_title),
                       Note(m.note), HeatMapHtml(m));
  }

  std::string operator()(const Table& t) const {
    return fmt::format("<div class=\"block\">{}{}{}</div>\n",
                       Element("p", " class=\"block-title\"", t.title), Note(t.note), TableHtml(t));
  }

  std::string operator()(const CellDrawing& c) const {
    const std::string text = Element("pre", "", c.text);
    return fmt::format(
        "<div class=\"block cell\"><figure><figcaption>{}{}</figcaption>\n{}</figure>\n{}</div>\n",
        EscapeHtml(c.title), Note(c.note),
        c.svg.empty() ? text
                      : "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                            EscapeHtml(c.title) + "\">" + c.svg + "</div>",
        c.svg.empty() ? "" : Details("Edges as text", text));
  }

  std::string operator()(const Listing& l) const {
    const std::string text = Element("pre", l.open ? " class=\"command\"" : "", l.text);
    if (!l.open) return "<div class=\"block\">" + Details(l.title, text) + "</div>\n";
    return "<div class=\"block\">" + Element("p", " class=\"block-title\"", l.title) + text +
           "</div>\n";
  }
};

std::string FiguresHtml(const std::vector<Figure>& figures) {
  if (figures.empty()) return "";
  std::string html = "<dl class=\"figures\">\n";
  for (const Figure& f : figures) {
    html += "<div>" + Element("dt", "", f.label) + Element("dd", " class=\"value\"", f.value);
    if (!f.note.empty()) html += Element("dd", " class=\"more\"", f.note);
    html += "</div>\n";
  }
  return html + "</dl>\n";
}

std::string Anchor(size_t index, const Section& section) {
  return fmt::format("s{}-{}", index + 1, Slug(section.name));
}

std::string SectionHtml(const Section& s, const std::string& anchor) {
  std::string html =
      fmt::format("<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<header>\n{1}{2}</header>\n",
                  anchor, Element("p", " class=\"kicker\"", s.kind + " · " + s.name),
                  "<h2 id=\"" + anchor + "-h\">" + UnbrokenHtml(s.headline) + "</h2>\n");
  html += FiguresHtml(s.figures);
  for (const std::string& w : s.warnings)
    html += Element("p", " class=\"warning\" role=\"note\"", w);
  for (const Block& b : s.blocks) html += std::visit(BlockWriter{}, b);
  return html + "</section>\n";
}

std::string ContentsHtml(const Report& report) {
  if (report.sections.size() < 2) return "";
  std::string html =
      "<nav aria-labelledby=\"contents\">\n<h2 id=\"contents\">Contents</h2>\n<ol>\n";
  for (size_t i = 0; i < report.sections.size(); ++i) {
    const Section& s = report.sections[i];
    html += fmt::format("<li><a href=\"#{}\">{}</a> <span>{}: {}</span></li>\n", Anchor(i, s),
                        EscapeHtml(s.name), EscapeHtml(s.kind), EscapeHtml(s.headline));
  }
  return html + "</ol>\n</nav>\n";
}

}  // namespace

std::string PageHtml(const Report& report) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src {} {}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n",
      ScriptHash(kChartJs), ScriptHash(kReportJs), EscapeHtml(report.title));
  html += kReportCss;
  html +=
      "</style>\n</head>\n<body>\n<header>\n" + Element("h1", "", report.title) +
      Element("p", " class=\"made\"", report.made) + "</header>\n" +
      "<noscript><p class=\"warning\">The charts need JavaScript; the tables below them hold the "
      "same numbers.</p></noscript>\n<main>\n" +
      ContentsHtml(report);
  for (const Table& t : report.overview) html += BlockWriter{}(t);
  for (size_t i = 0; i < report.sections.size(); ++i)
    html += SectionHtml(report.sections[i], Anchor(i, report.sections[i]));
  html += "</main>\n" +
          Element("footer", "",
                  "Intervals are 95 %, over trials. Charts: Chart.js (MIT licence), inside "
                  "this file; nothing is fetched.");
  html += "<script>" + std::string(kChartJs) + "</script>\n<script>" + std::string(kReportJs) +
          "</script>\n</body>\n</html>\n";
  return html;
}

}  // namespace ftt
