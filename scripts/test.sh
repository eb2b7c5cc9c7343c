#!/usr/bin/env bash
# Sets up, builds with warnings as errors, checks the format, and runs all tests. Usage: scripts/test.sh [CTEST-ARGUMENT...]
# Tests that read real data sets look under $FTT_DATA_DIR and say SKIPPED without them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --with-checks
scripts/build.sh cpu -DFTT_WERROR=ON
scripts/lint.sh --format-only
ctest --test-dir build --no-tests=error --output-on-failure -j2 "$@"
