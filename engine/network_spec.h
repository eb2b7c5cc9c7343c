// What identifies a network: a registry name or a genotype with its options, the images it takes,
// its classes.
#pragma once

#include <string>

#include "engine/networks/cell.h"
#include "engine/program.h"

namespace ftt {

struct NetworkSpec {
  std::string name;      // registry name; "genotype" for a cell network
  std::string genotype;  // reference notation; empty for registry names
  CellNetOptions cell;   // cell networks only
  Shape input;
  int classes = 0;

  Program Build() const;  // throws ftt::Error for an unknown name or images that are too small
  std::string Json() const;
  static NetworkSpec FromJson(const std::string& text,
                              const std::string& where);  // throws on anything malformed
};

// name_or_file: a registry name, or a file that holds a genotype. Throws ftt::Error if it is
// neither.
NetworkSpec ResolveNetwork(const std::string& name_or_file, const CellNetOptions& cell,
                           const Shape& input, int classes);

}  // namespace ftt
