// Cells of a genotype, drawn by Graphviz.
#pragma once

#include <string>
#include <vector>

#include "campaign/report/report.h"
#include "engine/genotype.h"

namespace ftt {

// The graph in Graphviz' language: inputs on top, edges labelled with their op, skips dashed and
// `none` dotted.
std::string CellDot(const std::vector<GenotypeEdge>& edges);

// What `dot -Tsvg` printed, as an element to stand in a page: without prologue, ids, height and
// name spaces; colours come from the page's style sheet by class. Throws ftt::Error
// where it holds anything that could run or load something.
std::string InlineSvg(const std::string& svg);

// The drawings of both cells. Where a genotype cannot be read, or dot is missing, they hold the
// text and a note that says so. `program` is the name or path of dot.
std::vector<CellDrawing> DrawCells(const std::string& title, const std::string& genotype,
                                   const std::string& program = "dot");

}  // namespace ftt
