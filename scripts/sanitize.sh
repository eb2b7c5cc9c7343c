#!/usr/bin/env bash
# Runs the tests of the kernels and of the device engine, on the emulated device, under sanitizers. Needs no GPU.
# Usage: scripts/sanitize.sh [KIND...] [--filter GTEST-FILTER]
#   address  accesses outside of memory and undefined behaviour; builds into build-asan/
#   thread   races between threads, blocks, kernels, streams and the host (tests/cuda_emulation/races.h); build-tsan/
# Without a KIND both. As many processes as there are cores; logs in build-*/sanitize/. Ends with a non-zero code where
# something is found; a KIND whose runtime does not work on this machine is SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kinds=()
filter='*'
while [[ "$#" -gt 0 ]]; do
  case "$1" in
    address | thread) kinds+=("$1") ;;
    --filter)
      [[ "$#" -gt 1 ]] || { echo "sanitize.sh: --filter wants a GoogleTest filter" >&2; exit 2; }
      filter="$2"
      shift
      ;;
    *)
      echo "sanitize.sh: unknown argument '$1'; there are address, thread and --filter" >&2
      exit 2
      ;;
  esac
  shift
done
[[ "${#kinds[@]}" -gt 0 ]] || kinds=(address thread)

tests=(cuda/cuda_emulation_test engine/cuda_engine_test)
export TSAN_OPTIONS="history_size=4 ${TSAN_OPTIONS:-}"

# run_tests BUILD-FOLDER [COMMAND...]: all tests, those of one program at a time, each started by COMMAND.
run_tests() {
  local build="$1" failed=0 test shard pid
  shift
  export GTEST_TOTAL_SHARDS
  GTEST_TOTAL_SHARDS="$(nproc)"
  for test in "${tests[@]}"; do
    local pids=() rounds=1
    # The second time launches are planned for a single multiprocessor (tests/cuda/multiprocessors.cc), with fewer blocks
    # to race.
    if [[ "${test}" == cuda/* && "${kind}" == address ]]; then rounds=2; fi
    for ((shard = 0; shard < GTEST_TOTAL_SHARDS; ++shard)); do
      GTEST_SHARD_INDEX="${shard}" "$@" "${build}/tests/${test}" --gtest_filter="${filter}" \
        --gtest_repeat="${rounds}" > "${build}/sanitize/${test##*/}-${shard}.log" 2>&1 &
      pids+=($!)
    done
    for pid in "${pids[@]}"; do
      wait "${pid}" || failed=1
    done
  done
  unset GTEST_TOTAL_SHARDS
  return "${failed}"
}

found=0
for kind in "${kinds[@]}"; do
  build="build-${kind:0:1}san"
  scripts/build.sh "${kind:0:1}san" -DFTT_CUDA=OFF -- "${tests[@]##*/}"
  rm -rf "${build}/sanitize"
  mkdir -p "${build}/sanitize"

  # The thread sanitizer of GCC 12 wants the address layout of older kernels, which it has without randomization.
  start=()
  probe=("${build}/tests/${tests[0]}" --gtest_filter=Nothing)
  if ! "${probe[@]}" > "${build}/sanitize/probe.log" 2>&1; then
    start=(setarch -R)
    if ! "${start[@]}" "${probe[@]}" > "${build}/sanitize/probe.log" 2>&1; then
      echo "sanitize: ${kind} SKIPPED, it does not run here: $(tail -n 1 "${build}/sanitize/probe.log")"
      continue
    fi
  fi

  begin="${SECONDS}"
  if run_tests "${build}" "${start[@]}"; then
    passed="$(cat "${build}"/sanitize/*_test-*.log | grep -c '^\[       OK \]' || true)"
    echo "sanitize: ${kind}: nothing found in ${passed} runs of tests, $((SECONDS - begin)) s"
  else
    cat "${build}"/sanitize/*_test-*.log | grep -E '^SUMMARY|^\[  FAILED  \] .* ms\)|runtime error' | sort | uniq -c || true
    echo "sanitize: ${kind}: something found or a test failed; see ${build}/sanitize" >&2
    found=1
  fi
done
exit "${found}"
