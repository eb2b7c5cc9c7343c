// A deployed network as one self-describing file, from which any program can run the integer
// inference of `eval` bit for bit. Format: docs/export.md.
#pragma once

#include "core/tensor_file.h"
#include "engine/checkpoint.h"

namespace ftt {

inline constexpr int kExportVersion = 1;

// Metadata "format", "version" and "program" (JSON: values, ops, exponents), and the tensors that
// the ops name.
TensorFile ExportDeployed(const TrainedNetwork& network);

}  // namespace ftt
