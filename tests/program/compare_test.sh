#!/usr/bin/env bash
# The whole comparison - a search, trainings with faults and without, a sweep of all - from one configuration: interrupted
# with SIGINT and SIGKILL at random moments it ends with the networks and rows of an undisturbed one.
# Usage: compare_test.sh FTT-CUDA [SEED]
set -euo pipefail

program="$1"
RANDOM="${2:-1}"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

die() {
  echo "compare_test: $1" >&2
  exit 1
}

cat > compare.toml << 'TOML'
[compare]
networks = ["tiny-cnn", "search"]
search-epochs = 4
train-epochs = 4

[search]
data = "shapes:200,50"
fault = "mibb:1e-3"
primitives = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
init-channels = 4
cells = 3
warmup-epochs = 0
batch = 25
derive-draws = 4
derive-samples = 2
derive-batches = 1

[train]
data = "shapes:200,50"
fault = "mibb:1e-3"
init-channels = 4
cells = 3
batch = 25
trials = 2
calibration-images = 50

[sweep]
fault = "mibb"
rates = "1e-4,1e-3"
trials = 3
TOML
compare=("${program}" compare --config compare.toml --budget 0.5 --threads 1)

# What a comparison ends with: its genotype, the last checkpoint of each run, and the rows without their seconds.
result() {
  local run dir networks=()
  sha256sum < "$1/search/genotype.txt"
  for run in tiny-cnn-ftt tiny-cnn-plain found-ftt found-plain; do
    networks+=("${run}=$1/${run}")
    dir="$(find "$1/${run}" -maxdepth 1 -name 'checkpoint-*' | sort -V | tail -n 1)"
    (cd "${dir}" && echo "${run} ${dir##*/}" && sha256sum -- *)
  done
  "${program}" sweep --config compare.toml "${networks[@]}" --threads 1 --out "$1" --csv "$1.csv" > log 2>&1 || die "$(cat log)"
  sed 's/,[^,]*$//' "$1.csv"
}

"${compare[@]}" --out want > log 2>&1 || die "$(cat log)"
result want > want.txt
[[ "$(grep -c 'mibb' want.txt)" -eq 24 ]] || die "$(grep -c 'mibb' want.txt) rows instead of 4 networks * 2 rates * 3 trials"

for ((cut = 0; cut < 6; ++cut)); do
  "${compare[@]}" --out cut > log 2>&1 &
  sleep "0.$((RANDOM % 9 + 1))"
  kill "$([[ $((cut % 2)) -eq 0 ]] && echo -KILL || echo -INT)" "$!" 2> /dev/null || true
  wait "$!" 2> /dev/null || true
done
"${compare[@]}" --out cut > log 2>&1 || die "$(cat log)"
result cut > cut.txt
diff want.txt cut.txt > difference || die "an interrupted comparison ends elsewhere: $(cat difference)"

"${compare[@]}" --out want > log 2>&1 || die "the same command again: $(cat log)"
result want | diff - want.txt > /dev/null || die "the same command again changes a result"

! "${compare[@]}" --networks tiny-cnn,no-such-network --out other > log 2>&1 || die "an unknown network is accepted"
grep -q 'no-such-network' log || die "the message does not name the network: $(cat log)"
