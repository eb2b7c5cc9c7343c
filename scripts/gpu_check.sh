#!/usr/bin/env bash
# Everything that only a machine with a GPU can tell: tests on the device, benchmarks, a search, compute-sanitizer.
# Usage: scripts/gpu_check.sh [--out FOLDER] [--minutes M] [--data NAME[:DIR]] [--skip PART]... [--rehearse]
#   --minutes M   of the search with the mibb preset, and once that has ended of the training of what it found; further
#                 calls go on with both; 0: neither (default 10)
#   --data        their data set (default cifar10, whose folder $FTT_DATA_DIR names)
#   --skip PART   tests, program, bench, peers, search, train or sanitizer, or one of bench-step, bench-sweep, ...; may be
#                 given several times
#   --rehearse    everything at tiny sizes on the emulated device of the tests, without a GPU
# Works in the source tree (built with -DFTT_CUDA=ON, in build or $FTT_BUILD) and in a bundle of scripts/bundle.sh.
# Every part writes its own file into FOLDER (default gpu-check), and summary.md holds all tables and the targets; the exit
# code is 1 if a part failed (failed.txt names it), 2 if nothing could start.
set -euo pipefail
caller="${PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  echo "gpu_check.sh: $1" >&2
  exit 2
}

out="gpu-check" minutes=10 data="" skip=" " rehearse=false
while [[ $# -gt 0 ]]; do
  case "$1" in
    --out | --minutes | --data | --skip)
      [[ $# -ge 2 ]] || die "$1 needs a value"
      case "$1" in
        --out) out="$2" ;;
        --minutes) minutes="$2" ;;
        --data) data="$2" ;;
        --skip) skip+="$2 " ;;
      esac
      shift 2
      ;;
    --rehearse)
      rehearse=true
      shift
      ;;
    -h | --help)
      sed -n '2,14s/^# //p' "scripts/gpu_check.sh"
      exit 0
      ;;
    *) die "unknown option $1 (see --help)" ;;
  esac
done
[[ "${minutes}" =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--minutes ${minutes}: not a number of minutes"
[[ "${out}" == /* ]] || out="${caller}/${out}"

# What runs, and how much of it. Part of a build, of a bundle, or what the environment names.
build="${FTT_BUILD:-build}"
if "${rehearse}"; then
  program="${build}/tests/program/ftt-cuda-emulated"
  device_test="${build}/tests/cuda/cuda_emulation_test"
  test_options=("--gtest_filter=*Optimizer*:*Norm*:*Window*")
  step=(--batch 1 --repeats 1 --steps 1) batch=(--batch 2 --repeats 1 --steps 1)
  sweep=(--images 2 --batch 2 --trials 2 --lanes 2 --repeats 1)
  kernels=(--rows depthwise,separable,pass --batch 1 --repeats 1)
  peers=(--device cpu --batch 2 --steps 1)
  search=(--init-channels 4 --cells 3 --stem-multiplier 1 --batch 8 --epochs 3 --warmup-epochs 1 --derive-draws 4
    --derive-samples 2 --derive-batches 1 --primitives none,skip_connect,max_pool_3x3,sep_conv_3x3)
  train=(--init-channels 4 --cells 3 --stem-multiplier 1 --batch 8 --epochs 2 --trials 2)
  data="${data:-shapes:48,16}"
else
  program="${build}/cli/ftt-cuda"
  device_test="${build}/tests/cuda/cuda_device_test"
  if [[ -e .ftt-cuda-bundle ]]; then program="bin/ftt-cuda" device_test="bin/cuda_device_test"; fi
  test_options=(--gtest_repeat=2)  # the second time launches are planned for a single multiprocessor
  networks=(--network resnet-20,mobilenet-v2,w-ftt-net)
  step=(--batch 128 "${networks[@]}") batch=(--batch 512 --network resnet-20,w-ftt-net)
  sweep=(--images 2048 --batch 128 --trials 16 --lanes 16 "${networks[@]}")
  kernels=() peers=() search=() train=()
  data="${data:-cifar10}"
fi
program="${FTT_PROGRAM:-${program}}"
device_test="${FTT_DEVICE_TEST:-${device_test}}"

# --- what would stop it, before anything takes time --------------------------------------------------------
if [[ ! -x "${program}" ]]; then
  "${rehearse}" && die "${program} is not there; build it first (scripts/build.sh)"
  die "${program} is not there; build with -DFTT_CUDA=ON first"
fi
devices="$("${program}" info 2> /dev/null | sed -n 's/^backends.*cuda: //p' || true)"
[[ "${devices}" =~ ^[0-9]+\ device ]] || die "${program} finds no GPU: ${devices:-it does not start}"
mkdir -p "${out}" || die "${out} cannot be made"
wanted() { [[ "${skip}" != *" ${1%%-*} "* && "${skip}" != *" $1 "* ]]; }
run="${out}/search-mibb" trained="${out}/train-mibb"
searching=true
if [[ "${minutes}" =~ ^0+(\.0+)?$ ]] || ! wanted search; then searching=false; fi
if "${searching}" && [[ ! -e "${run}/report.json" ]]; then
  # Loads it as the search will.
  message="$("${program}" data dump "${data}" --count 1 --out "${out}/first-image.bin" 2>&1 > /dev/null)" ||
    die "no data for the search: ${message##*error: }; give --data cifar10:FOLDER, get it with \
'${program} data fetch cifar10', or leave the search out with --minutes 0"
  rm -f "${out}/first-image.bin"
fi

# --- parts ---------------------------------------------------------------------------------------------------
# Lines `NAME<tab>STATE<tab>SECONDS<tab>REMARK<tab>COMMAND`; of several calls into one folder the last line of a part counts.
status="${out}/status.tsv"
rm -f "${out}/failed.txt"
failed=0
child="" current=""
command_line=""
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${command_line}" >> "${status}"; }
not_run() {
  echo "== $1: not run: $2"
  note "$1" "not run" 0 "$2"
}
fail() {
  echo "$1: FAILED ($2)"
  echo "$1" >> "${out}/failed.txt"
  failed=1
}
summarize() {
  if ! command -v python3 > /dev/null; then
    echo "no python3 here: run scripts/gpu_summary.py ${out} where there is one, for its summary.md"
  elif python3 scripts/gpu_summary.py "${out}"; then
    echo "== ${out}/summary.md"
  else
    fail summary "scripts/gpu_summary.py"
  fi
}
# Ctrl-C: the part that runs ends, and what is there is summed up.
interrupted() {
  [[ -z "${child}" ]] || kill -TERM "${child}" 2> /dev/null || true
  [[ -z "${child}" ]] || wait "${child}" 2> /dev/null || true
  echo "interrupted" >> "${out}/failed.txt"
  [[ -z "${current}" ]] || note "${current}" FAILED 0 "interrupted"
  summarize
  exit 130
}
trap interrupted INT TERM

# limited NAME LIMIT FILE COMMAND...: sets `code` and `seconds`. A kernel that hangs must not take the rest along.
limited() {
  local limit="$2" file="$3" begin="${SECONDS}"
  current="$1"
  shift 3
  code=0
  timeout --signal=TERM --kill-after=60 "${limit}" "$@" > "${file}" 2>&1 &
  child="$!"
  wait "${child}" || code="$?"
  child="" current=""
  seconds="$((SECONDS - begin))"
}
# part NAME COMMAND...: runs it unless skipped; its output goes to a file and to the terminal.
part() {
  local name="$1" remark=""
  shift
  wanted "${name}" || return 0
  echo "== ${name}"
  limited "${name}" "${FTT_PART_MINUTES:-15}m" "${out}/${name}.txt" "$@"
  tail -n 15 "${out}/${name}.txt"
  if [[ "${code}" -eq 0 ]]; then
    note "${name}" ok "${seconds}" ""
  else
    remark="exit code ${code}"
    [[ "${code}" -ne 124 ]] || remark="stopped after ${FTT_PART_MINUTES:-15} minutes"
    fail "${name}" "${remark}"
    note "${name}" FAILED "${seconds}" "${remark}"
  fi
}
# bench NAME ARGUMENT...: a part that leaves its rows in NAME.json as well.
bench() {
  local name="$1"
  shift
  wanted "${name}" || return 0
  rm -f "${out}/${name}.json"
  command_line="ftt-cuda bench $*"
  part "${name}" "${program}" bench "$@" --backend cuda --save "${out}/${name}.json"
  command_line=""
}

{
  date -u +'date       %Y-%m-%dT%H:%MZ'
  if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv,noheader |
      sed 's/^/nvidia-smi /' || echo "nvidia-smi fails"
  else
    echo "nvidia-smi is not there"
  fi
  "${program}" info
} > "${out}/machine.txt" 2>&1
cat "${out}/machine.txt"

if [[ -x "${device_test}" ]]; then
  part tests "${device_test}" --gtest_brief=1 "${test_options[@]}"
elif wanted tests; then
  echo "${device_test} is not there: no device tests" | tee "${out}/tests.txt"
  fail tests "not there"
  note tests FAILED 0 "${device_test} is not there"
fi
if ! "${rehearse}"; then  # CTest runs it on the emulated device
  part program tests/program/cuda_program_test.sh "${program}"
fi
if "${rehearse}"; then  # the smallest network there is
  echo "normal_0=[('skip_connect', 0, 2), ('sep_conv_3x3', 1, 2)], reduce_1=[('max_pool_3x3', 0, 2), ('none', 1, 2)]" \
    > "${out}/genotype.txt"
  for list in step batch sweep; do
    declare -n arguments="${list}"
    arguments+=(--network "${out}/genotype.txt")
  done
fi
bench bench-step step "${step[@]}"
FTT_GRAPH_OVERLAP=1 bench bench-overlap step "${step[@]}"
bench bench-sweep sweep "${sweep[@]}"
bench bench-kernels kernels "${kernels[@]}"
bench bench-batch step "${batch[@]}"
if wanted peers; then
  rm -f "${out}/peers.json"
  if ! command -v python3 > /dev/null; then
    not_run peers "no python3"
  elif ! python3 -c 'import torch' 2> /dev/null; then
    not_run peers "this python3 has no PyTorch"
  elif ! "${rehearse}" && ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    not_run peers "this PyTorch cannot use the GPU"
  else
    part peers python3 benchmarks/peers/torch_step.py --program "${program}" --json "${out}/peers.json" "${peers[@]}"
  fi
fi

# goes_on NAME FOLDER MARK COMMAND...: a run of the program into FOLDER for --minutes; a further call resumes it, unless it
# has ended and left MARK there.
goes_on() {
  local name="$1" folder="$2" mark="$3" more=() remark=""
  shift 3
  if [[ -e "${folder}/${mark}" ]]; then
    echo "== ${name}: has ended in an earlier call"
    return
  fi
  echo "== ${name}, at most ${minutes} minutes"
  if [[ -e "${folder}/config.toml" ]]; then more=(--resume); else rm -f "${out}/${name}-calls.tsv"; fi
  limited "${name}" "${minutes}m" "${out}/${name}.txt" "${program}" "$@" --backend cuda --out "${folder}" "${more[@]}"
  tail -n 5 "${out}/${name}.txt"
  # 124: stopped by the clock after it wrote its checkpoint; started again, it goes on.
  if [[ "${code}" -eq 0 || "${code}" -eq 124 ]]; then
    printf '%s\t%s\n' "${seconds}" "${data}" >> "${out}/${name}-calls.tsv"
    [[ -e "${folder}/${mark}" ]] || remark="stopped by --minutes ${minutes}; the same call goes on"
    note "${name}" ok "${seconds}" "${remark}"
  else
    fail "${name}" "exit code ${code}"
    note "${name}" FAILED "${seconds}" "exit code ${code}"
  fi
}
if "${searching}"; then
  goes_on search "${run}" report.json search --preset mibb --data "${data}" "${search[@]}"
fi
if "${searching}" && wanted train && [[ -e "${run}/report.json" ]]; then
  goes_on train "${trained}" result.json train --preset mibb --network "${run}/genotype.txt" --data "${data}" "${train[@]}"
fi

# Takes longest, so it comes last.
sanitizer="$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)"
if wanted sanitizer; then
  if [[ ! -x "${sanitizer}" ]]; then
    not_run sanitizer "compute-sanitizer is not there"
  elif "${rehearse}" || [[ ! -x "${device_test}" ]]; then
    not_run sanitizer "no device tests"
  else
    for tool in memcheck racecheck initcheck; do
      part "sanitizer-${tool}" "${sanitizer}" --tool "${tool}" --target-processes all --error-exitcode 1 "${device_test}" \
        --gtest_brief=1 --gtest_filter="${FTT_SANITIZER_FILTER:--*many_tiles*}"
    done
  fi
fi

trap - INT TERM
summarize
exit "${failed}"
