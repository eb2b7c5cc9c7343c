#include "campaign/report/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "campaign/report/child_process.h"
#include "core/error.h"

namespace ftt {
namespace {

constexpr char kHeader[] = R"dot(digraph cell {
  rankdir=TB; bgcolor=transparent; nodesep=0.35; ranksep=0.45;
  node [shape=box style=rounded fontname="Helvetica" fontsize=13 height=0.4 margin="0.15,0.05"];
  edge [fontname="Helvetica" fontsize=12 arrowsize=0.7];
  n0 [label="input 0\ncell before last" class=input];
  n1 [label="input 1\nlast cell" class=input];
  { rank=same; n0 -> n1 [style=invis]; }
)dot";

std::string EdgeStyle(const std::string& op) {
  if (op == "none") return "style=dotted class=none";
  if (op == "skip_connect") return "style=dashed class=skip";
  return IsConvolution(op) ? "class=conv" : "class=pool";
}

std::string QuoteDot(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? ' ' : c;
  }
  return quoted + "\"";
}

// Removes every attribute NAME="..." from the text of a document.
void DropAttribute(const std::string& name, std::string* svg) {
  const std::string start = " " + name + "=\"";
  for (size_t at = svg->find(start); at != std::string::npos; at = svg->find(start, at)) {
    const size_t end = svg->find('"', at + start.size());
    FTT_CHECK(end != std::string::npos, "the drawing of a cell has no end of {}", name);
    svg->erase(at, end + 1 - at);
  }
}

void ReplaceAll(const std::string& from, const std::string& to, std::string* text) {
  for (size_t at = text->find(from); at != std::string::npos; at = text->find(from, at + to.size()))
    text->replace(at, from.size(), to);
}

std::string CellText(const std::vector<GenotypeEdge>& edges, const std::vector<EdgeMark>& marks) {
  std::string text;
  for (size_t i = 0; i < edges.size(); ++i) {
    text += fmt::format("{} -> {}  {}{}\n", edges[i].from, edges[i].to, edges[i].op,
                        marks.empty() || marks[i].label.empty() ? "" : "  " + marks[i].label);
  }
  return text;
}

CellDrawing DrawCell(const std::string& title, const std::vector<GenotypeEdge>& edges,
                     const std::string& program, const std::vector<EdgeMark>& marks,
                     const std::string& note) {
  CellDrawing drawing;
  drawing.title = title;
  drawing.text = CellText(edges, marks);
  drawing.note = note;
  const ChildResult dot = RunChild({program, "-Tsvg"}, CellDot(edges, marks));
  if (!dot.started) {
    drawing.note = "Not drawn: the program dot is missing; the package graphviz has it.";
  } else if (dot.status != 0) {
    drawing.note = fmt::format("Not drawn: dot failed with status {}: {}", dot.status, dot.errors);
  } else {
    drawing.svg = InlineSvg(dot.output);
  }
  return drawing;
}

}  // namespace

std::string CellDot(const std::vector<GenotypeEdge>& edges, const std::vector<EdgeMark>& marks) {
  std::string dot = kHeader;
  const int last = 1 + InternalNodes(edges);
  for (int n = 2; n <= last; ++n) dot += fmt::format("  n{0} [label=\"{0}\"];\n", n);
  dot += "  out [label=\"output\\nconcatenation\" class=output];\n";
  for (size_t i = 0; i < edges.size(); ++i) {
    const GenotypeEdge& e = edges[i];
    std::string label = QuoteDot(" " + e.op + " "), style = EdgeStyle(e.op);
    if (!marks.empty()) {
      if (!marks[i].label.empty()) label.insert(label.size() - 1, "\\n" + marks[i].label);
      style += fmt::format(" penwidth={:.1f}", marks[i].width);
    }
    dot += fmt::format("  n{} -> n{} [label={} {}];\n", e.from, e.to, label, style);
  }
  for (int n = 2; n <= last; ++n) dot += fmt::format("  n{} -> out [class=join];\n", n);
  return dot + "}\n";
}

std::string InlineSvg(const std::string& text) {
  const size_t start = text.find("<svg"), end = text.rfind("</svg>");
  FTT_CHECK(start != std::string::npos && end != std::string::npos && start < end,
            "dot printed no SVG; is it Graphviz' dot?");
  std::string svg = text.substr(start, end + 6 - start);
  std::string lower = svg;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* bad :
       {"<script", "<foreignobject", "<image", "<a ", "<style", "href=\"", "onload="}) {
    FTT_CHECK(lower.find(bad) == std::string::npos, "the SVG that dot printed contains '{}'", bad);
  }
  for (const char* name : {"id", "height", "xmlns", "xmlns:xlink", "font-family"})
    DropAttribute(name, &svg);
  ReplaceAll("fill=\"black\" stroke=\"black\"", "fill=\"currentColor\" stroke=\"currentColor\"",
             &svg);
  ReplaceAll("stroke=\"black\"", "stroke=\"currentColor\"", &svg);
  ReplaceAll("<text", "<text fill=\"currentColor\"", &svg);
  return svg;
}

std::vector<CellDrawing> DrawCells(const std::string& title, const std::string& genotype,
                                   const std::string& program, const CellMarks& marks) {
  try {
    const Genotype g = ParseGenotype(genotype);
    return {DrawCell(title + ": normal cell", g.normal, program, marks.normal, marks.note),
            DrawCell(title + ": reduction cell", g.reduce, program, marks.reduce, marks.note)};
  } catch (const Error& error) {
    return {{title, "", genotype, fmt::format("Not drawn: {}", error.what())}};
  }
}

}  // namespace ftt
