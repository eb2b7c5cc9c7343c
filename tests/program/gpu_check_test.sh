#!/usr/bin/env bash
# Rehearses scripts/gpu_check.sh from end to end on the emulated device: every part writes its file and ends well, a search
# is continued by the next call, a part that fails is named, what is missing is said before anything takes time.
# Usage: gpu_check_test.sh SOURCE-FOLDER BUILD-FOLDER
set -euo pipefail

check="$(realpath "$1")/scripts/gpu_check.sh"
FTT_BUILD="$(realpath "$2")"
export FTT_BUILD
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

die() {
  echo "gpu_check_test: $1" >&2
  exit 1
}
# expect CODE ARGUMENT...: the rehearsal ends with that code; what it says is in `said`.
expect() {
  local code="$1" status=0
  shift
  "${check}" --rehearse "$@" > said 2>&1 || status="$?"
  [[ "${status}" -eq "${code}" ]] || die "exit code ${status} instead of ${code}: $*: $(tail -n 40 said)"
}
contains() { grep -Eq -- "$1" "$2" || die "$2 has no '$1': $(cat "$2")"; }
have_python() { command -v python3 > /dev/null; }

# --- nothing to start ------------------------------------------------------------------------------------------
expect 2 --out bad --minutes soon
contains 'soon: not a number of minutes' said
expect 2 --out bad --part x
contains 'unknown option --part' said
FTT_PROGRAM=/nowhere/ftt-cuda expect 2 --out bad
contains '/nowhere/ftt-cuda is not there' said
FTT_PROGRAM="${FTT_BUILD}/cli/ftt-cuda"
if "${FTT_PROGRAM}" info | grep -q 'cuda: not built in\|no device'; then
  FTT_PROGRAM="${FTT_PROGRAM}" expect 2 --out bad
  contains 'finds no GPU: (not )?built in' said
fi
unset FTT_PROGRAM
[[ ! -e bad ]] || die "a call that could not start made its folder"
started="${SECONDS}"
expect 2 --out no-data --data cifar10:/nowhere
contains 'no data for the search: .*/nowhere.*--data cifar10:FOLDER.*data fetch cifar10.*--minutes 0' said
[[ ! -e no-data/status.tsv ]] || die "parts ran without data for the search"
[[ $((SECONDS - started)) -lt 30 ]] || die "missing data was said after $((SECONDS - started)) s"

# --- everything, with a search that the clock stops --------------------------------------------------------------
expect 0 --out all --minutes 0.02
for file in machine tests bench-step bench-overlap bench-sweep bench-kernels bench-batch search; do
  [[ -s "all/${file}.txt" ]] || die "no ${file}.txt"
done
for file in bench-step bench-overlap bench-sweep bench-kernels bench-batch; do
  [[ -s "all/${file}.json" ]] || die "no ${file}.json"
done
[[ ! -e all/failed.txt ]] || die "failed.txt: $(cat all/failed.txt)"
contains 'emulated device' all/machine.txt
contains 'PASSED' all/tests.txt
contains $'^sanitizer\tnot run\t0\tcompute-sanitizer is not there|no device tests' all/status.tsv
[[ "$(cut -f2 all/status.tsv | grep -Evc '^(ok|not run)$')" -eq 0 ]] || die "status.tsv: $(cat all/status.tsv)"
command -v nvidia-smi > /dev/null || contains 'nvidia-smi is not there' all/machine.txt
contains $'^search\tok\t.*goes on' all/status.tsv

# The next call goes on with the search, and leaves the other parts' results where they are.
expect 0 --out all --skip tests --skip bench --skip peers --skip sanitizer
[[ -s all/search-mibb/genotype.txt ]] || die "the search was not continued: $(cat all/search.txt)"
[[ "$(wc -l < all/search-calls.tsv)" -eq 2 ]] || die "calls of the search: $(cat all/search-calls.tsv)"
# What it found is trained, and that is stopped by the clock and continued as well.
[[ -s all/train-mibb/result.json ]] || die "what the search found was not trained: $(cat all/train.txt)"
rm -r all/train-mibb
goes_on() { expect 0 --out all "$@" --skip tests --skip bench --skip peers --skip sanitizer; }
goes_on --minutes 0.02
contains 'search: has ended in an earlier call' said
contains $'^train\tok\t.*goes on' all/status.tsv
goes_on
[[ -s all/train-mibb/result.json ]] || die "the training was not continued: $(cat all/train.txt)"
goes_on
contains 'train: has ended in an earlier call' said

if have_python; then
  contains '^# emulated device' all/summary.md
  contains 'every figure here is meaningless' all/summary.md
  for target in 1 2 3a 3b 4 5 6 7 8 9 12; do contains "^\\| ${target} \\| " all/summary.md; done
  contains '^\| 12 \| .*(met|missed) \(rehearsal\) \|$' all/summary.md
  contains '^\| 3a \| .*\| not measured \|$' all/summary.md
  contains '^\| 5 \| .*median .*(met|missed) \(rehearsal\) \|$' all/summary.md
  contains '^\| 9 \| .*3 epochs and the derivation' all/summary.md
  contains '^The training of what the search found .shapes.*: 2 epochs in .* % clean, .* 2 trials on ' all/summary.md
  for title in 'Forward passes and training steps' 'The same in larger batches' 'Trials in lanes' Kernels Parts; do
    contains "^## ${title}\$" all/summary.md
  done
  contains '^\| add two \|' all/summary.md
  contains '^`ftt-cuda bench step --batch 1 .*`$' all/summary.md
  ! grep -q "${work}" all/summary.md || die "summary.md names folders of this machine"
fi

# The verdicts of a real device, with figures made up for what the emulated one does not measure.
if have_python; then
  cp -r all made-up
  sed -i 's/emulated device/NVIDIA Imaginary/' made-up/machine.txt
  sed -i 's/own convolution/cuDNN fp16/g' made-up/bench-kernels.json
  sed -i 's/"kernel_ratio": 0.0/"kernel_ratio": 1.06/' made-up/bench-step.json
  sed -i -E 's/"(trials|lanes)": 2/"\1": 16/; s/"lane_gain": [0-9.e-]+/"lane_gain": 4.5/' made-up/bench-sweep.json
  echo '{"torch": "2", "device": "cuda, NVIDIA Imaginary", "batch": 64, "torch_ms": 100, "ftt_cuda_ms": 4, "ratio": 25}' \
    > made-up/peers.json
  python3 "$(dirname "${check}")/gpu_summary.py" made-up > said
  contains '^# NVIDIA Imaginary' made-up/summary.md
  ! grep -q 'ehears\|meaningless' made-up/summary.md || die "not a rehearsal: $(cat made-up/summary.md)"
  for verdict in '3a \| .*rows meet it\) \| (met|missed)' '6 \| .* 1\.060 \| missed' '7 \| .* 4\.500 \| met' \
    '8 \| .* 25\.000 \| missed' '9 \| .* \| met'; do
    contains "^\\| ${verdict} \\|\$" made-up/summary.md
  done
fi

# --- a part that fails ---------------------------------------------------------------------------------------------
cat > fails <<END
#!/bin/sh
if [ "\$1 \$2" = "bench sweep" ]; then
  echo "no such luck" >&2
  exit 5
fi
exec "${FTT_BUILD}/tests/program/ftt-cuda-emulated" "\$@"
END
chmod +x fails
FTT_PROGRAM="${work}/fails" expect 1 --out all --minutes 0 --skip tests --skip bench-step --skip bench-overlap --skip bench-batch --skip peers
[[ "$(cat all/failed.txt)" == bench-sweep ]] || die "failed.txt: $(cat all/failed.txt)"
contains 'no such luck' all/bench-sweep.txt
[[ ! -e all/bench-sweep.json ]] || die "rows of an earlier call stand for a part that failed"
if have_python; then
  contains '^\| bench-sweep \| FAILED \| [0-9]+ \| exit code 5 \|$' all/summary.md
  contains '^\| 7 \| .*\| not measured \|$' all/summary.md
  contains '^\| bench-step \| ok \|' all/summary.md
fi
FTT_DEVICE_TEST=/nowhere/test expect 1 --out untested --minutes 0 --skip bench --skip peers
[[ "$(cat untested/failed.txt)" == tests ]] || die "failed.txt: $(cat untested/failed.txt)"
# A part that hangs is stopped.
printf '#!/bin/sh\nexec sleep 100\n' > hangs
chmod +x hangs
FTT_DEVICE_TEST="${work}/hangs" FTT_PART_MINUTES=0.02 expect 1 --out hung --minutes 0 --skip bench --skip peers
contains $'^tests\tFAILED\t.*stopped after' hung/status.tsv
# A call that is stopped says what it has.
"${check}" --rehearse --out stopped --minutes 0 > said 2>&1 &
process="$!"
until grep -qs 'tests' stopped/status.tsv; do
  kill -0 "${process}" 2> /dev/null || die "it ended before its second part: $(cat said)"
  sleep 0.05
done
kill -TERM "${process}"
status=0
wait "${process}" || status="$?"
[[ "${status}" -eq 130 ]] || die "exit code ${status} after SIGTERM: $(cat said)"
[[ "$(cat stopped/failed.txt)" == interrupted ]] || die "failed.txt: $(cat stopped/failed.txt)"
! have_python || contains '^\| tests \| ok \|' stopped/summary.md

# Without python3 there is everything but the summary.
mkdir tools
for tool in bash cat cut date dirname grep mkdir rm sed sleep tail tee timeout; do ln -s "$(command -v "${tool}")" tools/; done
PATH="${work}/tools" expect 0 --out bare --minutes 0 --skip tests --skip bench-step --skip bench-overlap --skip bench-sweep \
  --skip bench-batch
contains 'no python3 here: run scripts/gpu_summary.py' said
contains $'^peers\tnot run\t0\tno python3' bare/status.tsv
[[ -s bare/bench-kernels.json && ! -e bare/summary.md ]] || die "without python3: $(cat said)"
echo "gpu_check_test: a rehearsal of every part, continued and summed up; what fails or is missing is named"
