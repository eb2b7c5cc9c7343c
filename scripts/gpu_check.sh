#!/usr/bin/env bash
# Everything that only a machine with a GPU can tell: tests on the device, compute-sanitizer, benchmarks, then a search.
# Usage: scripts/gpu_check.sh [--out FOLDER] [--minutes M] [--data NAME[:DIR]] [--skip PART]...
#   --minutes M   of the search with the mibb preset; 0: none (default 10)
#   --data        its data set (default cifar10, whose folder $FTT_DATA_DIR names)
#   --skip PART   tests, sanitizer, bench, peers or search, or one of bench-step, bench-sweep, bench-kernels, ...; may be
#                 given several times
# Works in the source tree (built with -DFTT_CUDA=ON, in build or $FTT_BUILD) and in a bundle of scripts/bundle.sh.
# Every part writes its own file into FOLDER (default gpu-check); the exit code is 1 if any of them failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out="gpu-check" minutes=10 data="cifar10" skip=" "
while [[ $# -gt 0 ]]; do
  case "$1" in
    --out | --minutes | --data | --skip)
      if [[ $# -lt 2 ]]; then
        echo "gpu_check.sh: $1 needs a value" >&2
        exit 2
      fi
      case "$1" in
        --out) out="$2" ;;
        --minutes) minutes="$2" ;;
        --data) data="$2" ;;
        --skip) skip+="$2 " ;;
      esac
      shift 2
      ;;
    -h | --help)
      sed -n '2,9s/^# //p' "$0"
      exit 0
      ;;
    *)
      echo "gpu_check.sh: unknown option $1 (see --help)" >&2
      exit 2
      ;;
  esac
done

if [[ -e .ftt-cuda-bundle ]]; then
  program="bin/ftt-cuda"
  device_test="bin/cuda_device_test"
else
  build="${FTT_BUILD:-build}"
  program="${build}/cli/ftt-cuda"
  device_test="${build}/tests/cuda/cuda_device_test"
fi
if [[ ! -x "${program}" ]]; then
  echo "gpu_check.sh: ${program} is not there; build with -DFTT_CUDA=ON first" >&2
  exit 2
fi
devices="$("${program}" info | sed -n 's/^backends.*cuda: //p')"
if [[ ! "${devices}" =~ ^[0-9]+\ device ]]; then
  echo "gpu_check.sh: ${program} finds no GPU: ${devices:-it does not start}" >&2
  exit 2
fi
mkdir -p "${out}"
failed=0

# part NAME COMMAND...: runs it unless skipped; its output goes to a file and to the terminal.
part() {
  local name="$1"
  shift
  [[ "${skip}" == *" ${name%%-*} "* || "${skip}" == *" ${name} "* ]] && return
  echo "== ${name}"
  if ! "$@" > "${out}/${name}.txt" 2>&1; then
    echo "${name}: FAILED" | tee -a "${out}/failed.txt"
    failed=1
  fi
  tail -n 15 "${out}/${name}.txt"
}

{
  date -u +%Y-%m-%dT%H:%MZ
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2> /dev/null || true
  "${program}" info
} > "${out}/machine.txt"
cat "${out}/machine.txt"

if [[ -x "${device_test}" ]]; then
  part tests "${device_test}" --gtest_brief=1
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
      part "sanitizer-${tool}" compute-sanitizer --tool "${tool}" --error-exitcode 1 "${device_test}" --gtest_brief=1 \
        --gtest_filter="${FTT_SANITIZER_FILTER:--*many_tiles*}"
    done
  fi
else
  echo "${device_test} is not there: no device tests" | tee "${out}/failed.txt"
  failed=1
fi
part tests-parity "${program}" bench --backend cuda --repeats 3
part bench-step "${program}" bench --backend cuda --batch 128 --network resnet-20,mobilenet-v2,w-ftt-net
part bench-step-json "${program}" bench --backend cuda --batch 128 --network resnet-20,mobilenet-v2,w-ftt-net --json
part bench-batch "${program}" bench --backend cuda --batch 512 --network resnet-20,w-ftt-net
part bench-sweep "${program}" bench sweep --backend cuda --images 2048 --batch 128 --trials 16 --lanes 16
part bench-sweep-json "${program}" bench sweep --backend cuda --images 2048 --batch 128 --trials 16 --lanes 16 --json
part bench-kernels "${program}" bench kernels --backend cuda
part bench-kernels-json "${program}" bench kernels --backend cuda --json
if command -v python3 > /dev/null && python3 -c 'import torch' 2> /dev/null; then
  part peers python3 benchmarks/peers/torch_step.py --program "${program}" --json "${out}/peers.json"
fi
if [[ "${minutes}" != 0 && "${skip}" != *" search "* ]]; then
  run="${out}/search-mibb"
  more=(--preset mibb --data "${data}")
  [[ -e "${run}/config.toml" ]] && more=(--resume)
  echo "== search, ${minutes} minutes"
  timeout --signal=TERM --kill-after=60 "${minutes}m" "${program}" search --backend cuda --out "${run}" "${more[@]}" \
    > "${out}/search.txt" 2>&1
  status=$?
  # 124: stopped by the clock after writing its checkpoint; started again, it goes on.
  if [[ ${status} != 0 && ${status} != 124 ]]; then
    echo "search: FAILED" | tee -a "${out}/failed.txt"
    failed=1
  fi
  tail -n 5 "${out}/search.txt"
fi
exit "${failed}"
