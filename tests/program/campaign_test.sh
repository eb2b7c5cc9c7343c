#!/usr/bin/env bash
# A sweep of two networks: killed with SIGKILL at random moments, stopped with SIGINT, and run by two processes at once, it
# ends with the rows of an undisturbed sweep; an analysis runs in the same file.
# Usage: campaign_test.sh FTT-CUDA [KILLS [SEED]]
set -euo pipefail

program="$1"
kills="${2:-4}"
RANDOM="${3:-1}"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

die() {
  echo "campaign_test: $1" >&2
  exit 1
}

cells="normal_0=[('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2)], reduce_1=[('relu_conv_bn_3x3', 0, 2), ('max_pool_3x3', 1, 2)]"
echo "${cells}" > genotype.txt
for name in ftt plain; do
  coefficient="$([[ "${name}" == ftt ]] && echo 0.5 || echo 0)"
  "${program}" train --network genotype.txt --data shapes:400,100 --init-channels 4 --cells 3 --epochs 1 --batch 40 \
    --fault mibb:1e-3 --fault-loss-coeff "${coefficient}" --trials 0 --threads 1 --out "${name}" > log 2>&1 || die "$(cat log)"
done
sweep=("${program}" sweep ftt plain --fault mibb --fault adsaf --rates 1e-4,1e-3,1e-2 --threads 1 --batch 50)

# Rows without the seconds, which are the only column that may differ.
rows() { sed 's/,[^,]*$//' "$1"; }

"${sweep[@]}" --trials 6 --out plain-run --csv want.csv > log 2>&1 || die "$(cat log)"
[[ "$(rows want.csv | wc -l)" -eq 73 ]] || die "$(rows want.csv | wc -l) rows instead of a title and 2 * 2 * 3 * 6"

for ((kill = 0; kill < kills; ++kill)); do
  "${sweep[@]}" --trials 6 --out killed > log 2>&1 &
  sleep "0.$((RANDOM % 9 + 1))"
  kill -KILL "$!" 2> /dev/null || true
  wait "$!" 2> /dev/null || true
done
"${sweep[@]}" --trials 6 --out killed > log 2>&1 &
sleep 0.4
kill -INT "$!" 2> /dev/null || true
wait "$!" || die "SIGINT: exit code $?: $(cat log)"
"${sweep[@]}" --trials 6 --out killed --csv killed.csv > log 2>&1 || die "$(cat log)"
rows killed.csv | diff - <(rows want.csv) > /dev/null || die "a killed sweep ends with other rows"

"${sweep[@]}" --trials 6 --out both > first.log 2>&1 &
"${sweep[@]}" --trials 6 --out both --lanes 3 > second.log 2>&1 || die "$(cat second.log)"
wait "$!" || die "$(cat first.log)"
"${sweep[@]}" --trials 6 --out both --csv both.csv > log 2>&1 || die "$(cat log)"
rows both.csv | diff - <(rows want.csv) > /dev/null || die "two processes end with other rows"

"${sweep[@]}" --trials 6 --out both --json > both.json 2> log || die "$(cat log)"
! command -v python3 > /dev/null || python3 -c '
import json, sys
points = json.load(open(sys.argv[1]))["points"]
assert len(points) == 12, len(points)
for p in points:
    assert len(p["trials"]) == 6
    assert p["accuracy"]["low"] <= p["accuracy"]["mean"] <= p["accuracy"]["high"]
' both.json || die "the JSON is not as documented"

"${program}" analyze ftt --fault ibf-weight:1e-2 --by layer,kind,edge,bit,width,clip,plan --trials 2 --lanes 2 --threads 1 \
  --out both > analysis.txt 2> log || die "$(cat log)"
for words in 'in this layer only' 'protected' 'in this kind only' 'in this edge only' 'bit 7 (sign)' 'ftt 4 bits' 'ftt clip 0.25' \
  'hardening plan'; do
  grep -q "${words}" analysis.txt || die "the analysis says nothing of '${words}': $(cat analysis.txt)"
done
"${program}" analyze ftt plain --fault ibf-weight:1e-2 --by kind --trials 2 --threads 1 --out both --json 2> log |
  python3 -c '
import json, sys
last = json.load(sys.stdin)[-1]
assert last["by"] == "capacity" and len(last["rows"]) == 2 and all(r["parameters"] > 0 for r in last["rows"]), last
' || die "no table of capacity: $(cat log)"
echo "campaign_test: same rows after ${kills} kills, a SIGINT and with two processes; all views of the analysis"
