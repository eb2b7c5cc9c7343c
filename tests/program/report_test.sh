#!/usr/bin/env bash
# Makes a search, two trainings and a report of them, and looks at the report: as text, or with `browser` in headless
# Chromium (exit code 77, SKIPPED, where that is not installed).
# Usage: report_test.sh FTT-CUDA [browser]
set -euo pipefail

program="$1"
mode="${2:-text}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="$(mktemp -d)"
trap 'chmod -R u+w "${work}"; rm -rf "${work}"' EXIT
cd "${work}"

fail() {
  echo "report_test: $1" >&2
  exit 1
}

chromium=""
if [[ "${mode}" == browser ]]; then
  for name in chromium chromium-browser google-chrome; do
    if command -v "${name}" > /dev/null; then chromium="${chromium:-${name}}"; fi
  done
  if [[ -z "${chromium}" ]] || ! command -v python3 > /dev/null; then
    echo "report_test: SKIPPED, needs Chromium (package chromium) and Python 3"
    exit 77
  fi
fi

common=(--data shapes:200,100 --fault mibb:1e-3 --init-channels 4 --cells 3 --stem-multiplier 1
  --preprocess relu_conv_bn_1x1 --batch 20 --epochs 3 --threads 1 --seed 3)
"${program}" search "${common[@]}" --controller-every 1 --derive-samples 3 --derive-batches 1 --warmup-epochs 1 \
  --primitives none,skip_connect,max_pool_3x3,relu_conv_bn_3x3 --out search > log 2>&1 || { cat log; fail "search"; }
for run in with without; do
  coefficient=0.5
  if [[ "${run}" == without ]]; then coefficient=0; fi
  "${program}" train "${common[@]}" --network search/genotype.txt --trials 3 --fault-loss-coeff "${coefficient}" \
    --out "runs/${run}" > log 2>&1 || { cat log; fail "train ${run}"; }
done
"${program}" report search runs/with runs/without --out page/report.html --title "a <b>title</b>" > log ||
  fail "no report"
grep -q 'report: page/report.html (3 sections, [0-9]* charts)' log || fail "unexpected output: $(cat log)"

if [[ "${mode}" == browser ]]; then
  python3 "${here}/report_browser.py" "${chromium}" page/report.html || fail "the page is not as it should be"
  echo "report_test: the browser is content"
  exit 0
fi

grep -q 'a &lt;b&gt;title&lt;/b&gt;' page/report.html || fail "the title is not escaped"
grep -q 'under mibb:1e-3; clean' page/report.html || fail 'no headline'
if command -v dot > /dev/null; then grep -q '<svg' page/report.html || fail "no cells are drawn"; fi
# Without Graphviz the text of the cells is there.
mkdir empty
PATH="${work}/empty" "${program}" report search --out plain.html > log || fail "no report without Graphviz"
grep -q 'the package graphviz has it' plain.html || fail "nothing says which package draws cells"

if command -v gnuplot > /dev/null; then
  "${program}" report runs/with --out page/with.html --svg figures --png figures > log || fail "no figures"
  svg="$(find figures -name '*.svg' | wc -l)" png="$(find figures -name '*.png' | wc -l)"
  [[ "${svg}" -eq 3 && "${png}" -eq 3 ]] || fail "${svg} SVG and ${png} PNG files instead of 3 each"
  grep -q 'Accuracy (%)' figures/with-accuracy-on-training-batches.svg || fail "no axis in the figure"
fi

# refused PATTERN ARGUMENT...: exit code 2, one message that matches, the old page untouched.
refused() {
  local pattern="$1" status=0
  shift
  echo old > page/old.html
  PATH="${search_path:-${PATH}}" "${program}" report "$@" --out page/old.html > /dev/null 2> message || status="$?"
  [[ "${status}" -eq 2 ]] || fail "exit code ${status} instead of 2: $*"
  grep -Eq -- "${pattern}" message || fail "not about '${pattern}': $(cat message)"
  [[ "$(cat page/old.html)" == old ]] || fail "the old page is gone: $*"
  [[ ! -e page/old.html.tmp ]] || fail "a temporary file is left: $*"
}
refused 'missing: does not exist' missing
refused 'empty: is neither a run' empty
refused 'given twice' runs/with runs/with/
cp -r runs/with broken
sed -i '2s/.*/{"event":/' broken/events.jsonl
refused 'broken/events.jsonl:2: ' broken
cp -r runs/with unfinished && : > unfinished/events.jsonl
refused 'unfinished/events.jsonl: holds no finished epoch' unfinished
echo text > foreign.sqlite
refused 'foreign.sqlite' foreign.sqlite
search_path="${work}/empty" refused 'gnuplot-nox' runs/with --svg svg
[[ ! -e svg ]] || fail "an empty folder is left for figures"
mkdir locked && chmod a-w locked
status=0
"${program}" report runs/with --out locked/report.html > /dev/null 2> message || status="$?"
[[ "${status}" -eq 2 ]] || fail "wrote into a folder that is read-only: exit code ${status}"
# Runs with the same name.
mkdir other && cp -r runs/with other/with
"${program}" report runs/with other/with --out same.html > log || fail "two runs of one name"
grep -q '>other/with</a>' same.html || fail "runs of one name cannot be told apart"
echo "report_test: passed"
