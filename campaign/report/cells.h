// Cells of a genotype, drawn by Graphviz.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/report.h"
#include "engine/genotype.h"

namespace ftt {

// What is told about an edge beside its op.
struct EdgeMark {
  std::string label;  // under the op; may be empty
  double width = 1;   // of the line, in points
};
// One for each edge of a cell, or none at all.
struct CellMarks {
  std::vector<EdgeMark> normal, reduce;
  std::string note;  // under both drawings
};

// The graph in Graphviz' language: inputs on top, edges labelled with their op, skips dashed and
// `none` dotted.
std::string CellDot(const std::vector<GenotypeEdge>& edges,
                    const std::vector<EdgeMark>& marks = {});

// What `dot -Tsvg` printed, as an element to stand in a page: without prologue, ids, height and
// name spaces; colours come from the page's style sheet by class. Throws ftt::Error
// where it holds anything that could run or load something.
std::string InlineSvg(const std::string& svg);

// The drawings of both cells. Where a genotype cannot be read, or dot is missing, they hold the
// text and a note that says so. `program` is the name or path of dot.
std::vector<CellDrawing> DrawCells(const std::string& title, const std::string& genotype,
                                   const std::string& program = "dot", const CellMarks& marks = {});

}  // namespace ftt
