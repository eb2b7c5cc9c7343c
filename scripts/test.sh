#!/usr/bin/env bash
# Sets up, builds, and runs the tests. Usage: scripts/test.sh [CTEST-ARGUMENT...]
# Tests that read real data sets look under $FTT_DATA_DIR and say SKIPPED without them. FTT_WERROR=ON makes warnings errors,
# FTT_CUDA=ON compiles the CUDA backend even where no device is (a toolkit is needed; its tests then say SKIPPED).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh cpu "-DFTT_WERROR=${FTT_WERROR:-OFF}" "-DFTT_CUDA=${FTT_CUDA:-AUTO}"
ctest --test-dir build --no-tests=error --output-on-failure -j2 "$@"
