#!/usr/bin/env bash
# Checks format (clang-format 14) and common mistakes (clang-tidy). Usage: scripts/lint.sh [--fix] [--format-only]
# clang-tidy begins with the files that changed last and stops after FTT_TIDY_SECONDS (default 150; 0: all files); build/
# must be configured, for its generated headers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fix=false
tidy=true
for argument in "$@"; do
  case "${argument}" in
    --fix) fix=true ;;
    --format-only) tidy=false ;;
    *)
      echo "lint.sh: unknown argument '${argument}'; there are --fix and --format-only" >&2
      exit 2
      ;;
  esac
done

first_of() {
  local name
  for name in "$@"; do
    if command -v "${name}"; then return; fi
  done
}

folders=()
for folder in core data faults kernels engine search campaign cli tests benchmarks; do
  [[ -d "${folder}" ]] && folders+=("${folder}")
done
mapfile -t sources < <(find "${folders[@]}" -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' | sort)

# Only version 14 judges: others break lines differently.
format="$(first_of clang-format-14)"
if [[ -z "${format}" ]]; then
  echo "lint: clang-format-14 is not there: format not checked"
elif "${fix}"; then
  "${format}" -i "${sources[@]}"
else
  "${format}" --dry-run --Werror "${sources[@]}" || {
    echo "lint: run scripts/lint.sh --fix" >&2
    exit 1
  }
  echo "lint: format of ${#sources[@]} files is right"
fi

"${tidy}" || exit 0
clang_tidy="$(first_of clang-tidy-14 clang-tidy)"
if [[ -z "${clang_tidy}" || ! -d build/generated ]]; then
  echo "lint: no clang-tidy or no configured build/: mistakes not checked"
  exit 0
fi

# Uncommitted changes first, then the rest by the date of their last change: what is new is always looked at.
mapfile -t recent < <(
  {
    git diff --name-only --diff-filter=d HEAD -- '*.cc' || true
    git log --format= --name-only --diff-filter=d -- '*.cc' || true
    printf '%s\n' "${sources[@]}" | grep '\.cc$'
  } 2> /dev/null | awk '!seen[$0]++'
)
files=()
for file in "${recent[@]}"; do
  case "${file}" in
    # Mostly macros of their frameworks.
    tests/* | benchmarks/*) continue ;;
    # One body per instruction set, with flags of its own.
    kernels/cpu/elementwise_*.cc | kernels/cpu/depthwise_*.cc | kernels/cpu/pair_avx2.cc) continue ;;
  esac
  # clang has no omp.h of its own.
  if [[ -f "${file}" ]] && ! grep -q '<omp.h>' "${file}"; then files+=("${file}"); fi
done
if [[ "${#files[@]}" -eq 0 ]]; then
  echo "lint: no source for clang-tidy"
  exit 0
fi

# Not the build's own flags: they name precompiled headers of another compiler and sources in batches.
flags=(-std=c++20 -I. -Ibuild/generated -Wall -Wextra '-DFTT_VERSION=""' '-DFMT_SHARED')
budget="${FTT_TIDY_SECONDS:-150}"
[[ "${budget}" -gt 0 ]] || budget=1000000
deadline="$((SECONDS + budget))"
jobs="$(nproc)"
done_count=0
while [[ "${done_count}" -lt "${#files[@]}" && "${SECONDS}" -lt "${deadline}" ]]; do
  printf '%s\0' "${files[@]:done_count:jobs}" |
    xargs -0 -P "${jobs}" -I{} "${clang_tidy}" --quiet {} -- "${flags[@]}" 2> /dev/null
  done_count="$((done_count + jobs))"
done
checked="$((done_count < ${#files[@]} ? done_count : ${#files[@]}))"
echo "lint: clang-tidy has nothing to say about the ${checked} of ${#files[@]} files that changed last"
