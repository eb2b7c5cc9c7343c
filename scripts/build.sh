#!/usr/bin/env bash
# Configures and builds. Usage: scripts/build.sh [PRESET [CMAKE-ARGUMENT...] [-- TARGET...]]
# PRESET: cpu (default, into build/), debug, asan, tsan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset="${1:-cpu}"
[[ "$#" -eq 0 ]] || shift
configure=()
while [[ "$#" -gt 0 && "$1" != -- ]]; do
  configure+=("$1")
  shift
done
targets=()
if [[ "$#" -gt 1 ]]; then
  shift
  targets=(--target "$@")
fi

echo "build: configuring preset ${preset}"
cmake --preset "${preset}" "${configure[@]}" | { grep -E '^-- cuda backend' | sed 's/^-- /build: /' || true; }
cmake --build --preset "${preset}" "${targets[@]}"
