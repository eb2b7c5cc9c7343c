#!/usr/bin/env bash
# All tests of the device kernels on interpreted PTX, planned for the usual number of multiprocessors and for one. Every
# kernel must have been launched, and nearly every instruction must have run.
# Usage: coverage_test.sh CUDA-PTX-TEST [LEAST-PERCENT]
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
least="${2:-96}"

die() {
  echo "coverage_test: $1" >&2
  exit 1
}

FTT_PTX_PROFILE="${work}/profile.txt" "$1" --gtest_brief=1 --gtest_repeat=2 > "${work}/out" 2>&1 ||
  die "$(cat "${work}/out")"
grep -q '^planned for 1 multiprocessors' "${work}/out" || die "the second round is missing: $(cat "${work}/out")"
! grep '^never launched' "${work}/profile.txt" || die "these kernels have no test"
read -r ran all < <(sed -nE 's/^([0-9]+) of ([0-9]+) instructions ran$/\1 \2/p' "${work}/profile.txt")
[[ "${all}" -gt 0 ]] || die "the profile has no instructions"
echo "coverage_test: ${ran} of ${all} instructions of the kernels' PTX ran"
if [[ $((100 * ran)) -lt $((least * all)) ]]; then
  # The functions that miss most.
  awk '/^Instructions that never ran/ { on = 1; next }
       on && /never ran/ { missed[name] += $1; next }
       on && NF { name = $0 }
       END { for (n in missed) printf "%6d never ran  %s\n", missed[n], n }' "${work}/profile.txt" | sort -rn | sed 40q
  die "less than ${least} % ran; FTT_PTX_PROFILE=FILE $1 --gtest_repeat=2 says where"
fi
