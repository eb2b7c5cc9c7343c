// A report as plain data: sections of figures, charts, tables, cells and listings.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "campaign/chart.h"

namespace ftt {

struct Table {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  int text_columns = 1;  // leading columns of text; the others hold figures
  std::string note;
};

// A cell of a genotype: its drawing, or its text where there is none.
struct CellDrawing {
  std::string title;
  std::string svg;   // an <svg> element without scripts, ids and references; may be empty
  std::string text;  // the edges
  std::string note;
};

// Text as it stands in a file or on a command line.
struct Listing {
  std::string title;
  std::string text;
  bool open = false;
};

// A group of blocks inside a section.
struct Heading {
  std::string text;
};

using Block = std::variant<Heading, Chart, HeatMap, Table, CellDrawing, Listing>;

struct Figure {
  std::string label, value, note;
};

struct Section {
  std::string name;      // unique in the report
  std::string kind;      // "Search", "Training", "Campaign"
  std::string headline;  // the essential figures
  std::vector<Figure> figures;
  std::vector<std::string> warnings;
  std::vector<Block> blocks;
};

struct Report {
  std::string title;
  std::string made;  // who made the page and when
  std::vector<Table> overview;
  std::vector<Section> sections;
};

}  // namespace ftt
