#!/usr/bin/env bash
# Checks format (clang-format 14) and common mistakes (clang-tidy). Usage: scripts/lint.sh [--fix] [--format-only]
# clang-tidy begins with the files that changed last and stops after FTT_TIDY_SECONDS (default 150; 0: all files); build/ must
# be configured.
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
mapfile -t sources < <(find "${folders[@]}" -name '*.h' -o -name '*.cc' | sort)

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
if [[ -z "${clang_tidy}" || ! -f build/compile_commands.json ]]; then
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
  # Test and benchmark sources are mostly macros of their frameworks, and clang has no omp.h of its own.
  case "${file}" in tests/* | benchmarks/*) continue ;; esac
  if [[ -f "${file}" ]] && grep -q "/${file}\"" build/compile_commands.json &&
    ! grep -q '<omp.h>' "${file}"; then
    files+=("${file}")
  fi
done
if [[ "${#files[@]}" -eq 0 ]]; then
  echo "lint: no source for clang-tidy"
  exit 0
fi

budget="${FTT_TIDY_SECONDS:-150}"
[[ "${budget}" -gt 0 ]] || budget=1000000
deadline="$((SECONDS + budget))"
jobs="$(nproc)"
done_count=0
while [[ "${done_count}" -lt "${#files[@]}" && "${SECONDS}" -lt "${deadline}" ]]; do
  printf '%s\0' "${files[@]:done_count:jobs}" |
    xargs -0 -P "${jobs}" -n 1 "${clang_tidy}" -p build --quiet
  done_count="$((done_count + jobs))"
done
checked="$((done_count < ${#files[@]} ? done_count : ${#files[@]}))"
echo "lint: clang-tidy has nothing to say about the ${checked} of ${#files[@]} files that changed last"
