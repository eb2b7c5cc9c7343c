#!/usr/bin/env bash
# Makes a bundle, moves it, and starts its program from elsewhere in an empty environment; scripts/gpu_check.sh works in it.
# Usage: bundle_test.sh SOURCE-FOLDER BUILD-FOLDER
set -euo pipefail

bundle="$(realpath "$1")/scripts/bundle.sh"
build="$(realpath "$2")"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

die() {
  echo "bundle_test: $1" >&2
  exit 1
}

mkdir elsewhere mine
touch mine/file
if "${bundle}" "${work}/mine" "${build}" > log 2>&1; then die "it replaced a folder that is no bundle"; fi
[[ -e mine/file ]] || die "it removed a file of mine"
"${bundle}" "${work}/made" "${build}" > log 2>&1 || die "$(cat log)"
"${bundle}" "${work}/made" "${build}" > log 2>&1 || die "a bundle is not replaced: $(cat log)"
mv made elsewhere/ftt-cuda-bundle
ln -s "${work}/elsewhere/ftt-cuda-bundle/bin/ftt-cuda" other-name
cd /
for start in "${work}/elsewhere/ftt-cuda-bundle/bin/ftt-cuda" "${work}/other-name"; do
  env -i "${start}" info > "${work}/log" 2>&1 || die "${start} does not start: $(cat "${work}/log")"
  grep -q '^ftt-cuda  *[0-9]' "${work}/log" || die "info: $(cat "${work}/log")"
done
cd "${work}"
env -i "${work}/other-name" train --network resnet-20 --data shapes:20,10 --batch 10 --epochs 1 --trials 1 --threads 1 \
  --backend cpu --out run > log 2>&1 || die "a run in the bundle failed: $(cat log)"
# Its libraries are the bundle's own but for those of the system.
env -i LD_LIBRARY_PATH="${work}/elsewhere/ftt-cuda-bundle/lib" ldd elsewhere/ftt-cuda-bundle/bin/ftt-cuda.bin > libraries
! grep 'not found' libraries || die "libraries are missing"
for library in libdnnl libfmt libsqlite3 libstdc++; do
  grep "${library}" libraries | grep -q "${work}" || die "${library} is not the bundle's: $(cat libraries)"
done

emulated="${build}/tests/program/ftt-cuda-emulated"
FTT_PROGRAM="${emulated}" FTT_DEVICE_TEST="${build}/tests/cuda/cuda_emulation_test" \
  elsewhere/ftt-cuda-bundle/scripts/gpu_check.sh --rehearse --minutes 0 --out checked --skip bench-step --skip bench-overlap \
  --skip bench-sweep --skip bench-batch > log 2>&1 || die "gpu_check.sh: $(cat log)"
[[ -s checked/bench-kernels.json && -s checked/tests.txt ]] || die "gpu_check.sh: $(cat log)"
! command -v python3 > /dev/null || [[ -s checked/summary.md ]] || die "no summary.md: $(cat log)"
[[ -x elsewhere/ftt-cuda-bundle/tests/program/cuda_program_test.sh ]] || die "the program's test did not travel along"
[[ -s elsewhere/ftt-cuda-bundle/benchmarks/peers/torch_step.py ]] || die "the peers did not travel along"
echo "bundle_test: the bundle starts anywhere, by any name and without an environment"
