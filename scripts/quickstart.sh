#!/usr/bin/env bash
# From a bare machine to a fault-tolerant network: installs what is missing, builds the program, searches an architecture
# on the built-in data set, trains it with and without faults and measures both. No GPU, no download of data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh cpu -- ftt-cuda

# --- the job -------------------------------------------------------------------------------------
program=build/cli/ftt-cuda
out=runs/quickstart
# A result of an earlier quickstart; nothing else writes here.
rm -rf -- "${out}"
started="${SECONDS}"

echo
echo "== 1/4 search: which architecture keeps working under faults?"
"${program}" search --preset quick --out "${out}/search"

echo
echo "== 2/4 train what was found, with faults in the loop"
"${program}" train --preset quick --network "${out}/search/genotype.txt" --out "${out}/with-faults"

echo
echo "== 3/4 train the same architecture without faults, for comparison"
"${program}" train --preset quick --network "${out}/search/genotype.txt" --fault-loss-coeff 0 \
  --out "${out}/without-faults"

echo
echo "== 4/4 evaluate both, clean and under faults"
"${program}" eval "${out}/with-faults" --preset quick
"${program}" eval "${out}/without-faults" --preset quick

echo
echo "Done in $((SECONDS - started)) s (without the build). Results:"
echo "  ${out}/search/genotype.txt   the architecture"
echo "  ${out}/search                its search: configuration, events, checkpoints, report"
echo "  ${out}/with-faults           its weights, trained with faults"
echo "  ${out}/without-faults        the same architecture, trained without"
# -------------------------------------------------------------------------------------------------
