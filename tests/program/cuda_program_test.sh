#!/usr/bin/env bash
# The program with --backend cuda, on an emulated device, on interpreted PTX, or on a real device: search, train, Ctrl-C and
# --resume, eval, checks of one backend against another, sweep, analyze, bench, and what it refuses. Whatever does not train
# must give the lines and rows that --backend cpu gives.
# Usage: cuda_program_test.sh FTT-CUDA
set -euo pipefail

program="$(realpath "$1")"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

die() {
  echo "cuda_program_test: $1" >&2
  exit 1
}
# said: what the last command said, errors last.
said() { tail -n 30 out log; }
# ok ARGUMENT...: the program succeeds; its output is in `out`, messages are in `log`.
ok() {
  local status=0
  "${program}" "$@" > out 2> log || status="$?"
  [[ "${status}" -eq 0 ]] || die "exit code ${status}: $*: $(said)"
}
# refused PATTERN ARGUMENT...: exit code 2 and one line that matches.
refused() {
  local pattern="$1" status=0
  shift
  "${program}" "$@" > out 2> log || status="$?"
  [[ "${status}" -eq 2 ]] || die "exit code ${status} instead of 2: $*: $(said)"
  [[ "$(grep -c error log)" -eq 1 ]] || die "not one message: $*: $(said)"
  tail -n 1 log | grep -Eq -- "${pattern}" || die "not about '${pattern}': $*: $(said)"
}
contains() { grep -Eq -- "$1" "$2" || die "$2 has no '$1': $(cat "$2")"; }
# step_done NAME
started="${SECONDS}"
step_done() {
  echo "cuda_program_test: $1, $((SECONDS - started)) s"
  started="${SECONDS}"
}

# A device is fast: it gets more to do, so that a signal finds it at work.
ok info
contains 'cuda: [0-9]+ device' out
emulated=false interpreted=false epochs=40
if grep -q 'first: PTX on the CPU' out; then interpreted=true; fi
if "${interpreted}" || grep -q 'first: emulated device' out; then emulated=true epochs=2; fi
ok info --json
contains '"cuda": "[0-9]+ device' out

# --- search and training, whole and in two parts -----------------------------------------------------------
# What a run must end with: every file that holds no time of day.
digests() {
  local dir
  dir="$(find "$1" -maxdepth 1 -name 'checkpoint-*' | sort -V | tail -n 1)"
  (cd "${dir}" && echo "${dir##*/}" && sha256sum -- *)
  if [[ -f "$1/genotype.txt" ]]; then sha256sum < "$1/genotype.txt"; fi
}
# in_two_parts NAME ARGUMENT...: an undisturbed run NAME, and one that Ctrl-C stops after an epoch and --resume ends.
in_two_parts() {
  local name="$1" process status=0
  shift
  ok "$@" --out "${name}"
  "${program}" "$@" --out stopped > out 2> log &
  process="$!"
  until grep -qs '"epoch"' stopped/events.jsonl; do
    kill -0 "${process}" 2> /dev/null || die "$*: ended before its first epoch: $(said)"
    sleep 0.05
  done
  kill -INT "${process}" 2> /dev/null || true
  wait "${process}" || status="$?"
  [[ "${status}" -eq 0 ]] || die "SIGINT: exit code ${status}: $*: $(said)"
  contains 'stopped at.*--resume' log
  ok "$@" --out stopped --resume
  diff <(digests "${name}") <(digests stopped) || die "${name}: ends differently after Ctrl-C and --resume"
  rm -rf stopped
}

small=(--batch 8 --threads 1 --seed 3 --backend cuda --init-channels 4 --cells 3 --stem-multiplier 1
  --preprocess relu_conv_bn_1x1)
in_two_parts search search --data shapes:32,8 "${small[@]}" --epochs "${epochs}" --fault mibb:1e-3 \
  --primitives none,skip_connect,max_pool_3x3,sep_conv_3x3 --controller-every 2 --derive-draws 2 \
  --derive-samples 1 --derive-batches 1 --weight-fraction 0.5
contains '^normal_0=' search/genotype.txt
step_done "search, stopped and resumed, ends with the same bytes"

data=(--data shapes:16,8)
echo "normal_0=[('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2)], reduce_1=[('relu_conv_bn_3x3', 0, 2), ('max_pool_3x3', 1, 2)]" \
  > genotype.txt
train=(train "${data[@]}" "${small[@]}" --network genotype.txt --trials 1)
in_two_parts net "${train[@]}" --epochs "${epochs}" --fault mibb:1e-3
step_done "train, stopped and resumed, ends with the same bytes"

ok "${train[@]}" --epochs 1 --fault adsaf:0.02+mibb:1e-4 --out stuck
step_done "train with faults of weights and features"

# --- measuring: the lines and rows of the host ----------------------------------------------------------------
faults=(--fault mibb:1e-3 --fault adsaf:0.02 --fault "stuck-feature:1e-3")
eval=(eval net "${data[@]}" "${faults[@]}" --trials 2 --threads 1 --batch 8)
ok "${eval[@]}" --backend cpu
mv out want.txt
ok "${eval[@]}" --backend cuda --lanes 2
diff want.txt out || die "eval: --backend cuda and --backend cpu give other lines"
contains '^clean accuracy [0-9.]+ %' out
ok eval net "${data[@]}" --fault mibb:1e-3 --trials 1 --threads 1 --backend cpu --fault-list faults.csv --predictions want.csv
ok eval net "${data[@]}" --fault mibb:1e-3 --trials 1 --backend cuda:0 --predictions have.csv
cmp want.csv have.csv || die "eval: other predictions on cuda"
# Lists of faults are the host's.
refused 'recorded on the host only' eval net "${data[@]}" --fault mibb:1e-3 --backend cuda --fault-list refused
refused 'replayed on the host only' eval net "${data[@]}" --replay faults.csv --backend cuda
step_done "eval gives the lines and predictions of cpu"

for other in ref cpu; do
  for run in net stuck; do
    ok eval "${run}" "${data[@]}" "${faults[@]}" --trials 2 --lanes 2 --limit 6 --batch 4 --threads 1 \
      --backend "check:cuda,${other}"
    [[ "$(grep -Ec "backends cuda and ${other} agree bit for bit on [0-9]{4,} values" out)" -eq 3 ]] ||
      die "check:cuda,${other}: $(said)"
  done
done
step_done "check:cuda,ref and check:cuda,cpu agree"

# Rows without the seconds and the backend, the only columns that may differ.
rows() { sed -E 's/,[^,]*$//; s/,(cpu|cuda),/,-,/' "$1"; }
sweep=(sweep net stuck "${data[@]}" --fault mibb --fault adsaf --rates 1e-3,1e-2 --trials 3 --batch 8 --threads 1)
ok "${sweep[@]}" --backend cpu --out cpu-sweep --csv cpu-sweep.csv
ok "${sweep[@]}" --backend cuda --lanes 2 --out cuda-sweep --csv cuda-sweep.csv
diff <(rows cpu-sweep.csv) <(rows cuda-sweep.csv) > diff || die "sweep: other rows on cuda: $(head -n 4 diff)"
grep -q ',cuda,' cuda-sweep.csv || die "sweep: its rows do not name the backend"
[[ "$(wc -l < cuda-sweep.csv)" -eq 25 ]] || die "$(wc -l < cuda-sweep.csv) rows instead of a title and 2 * 2 * 2 * 3"
step_done "sweep gives the rows of cpu"

analyze=(analyze net "${data[@]}" --fault mibb:1e-3 --by kind,bit,clip,plan --trials 1 --limit 4 --batch 4
  --threads 1)
ok "${analyze[@]}" --backend cpu --out cpu-analysis
mv out want.txt
ok "${analyze[@]}" --backend cuda --lanes 2 --out cuda-analysis
# The last line or two name the folder.
diff <(sed 's/cpu-analysis/FOLDER/' want.txt) <(sed 's/cuda-analysis/FOLDER/' out) || die "analyze: other rows on cuda"
contains 'hardening plan' out
step_done "analyze gives the rows of cpu"

# --- benchmarks ------------------------------------------------------------------------------------------------
# An interpreter's times mean nothing.
if ! "${interpreted}"; then
  bench=(--network genotype.txt --batch 2 --repeats 1 --backend cuda)
  ok bench step "${bench[@]}" --steps 1 --save step.json
  contains 'deploy forward .*equal to ref on [0-9]+ values' out
  contains 'training step .*of its lower bound' out
  contains '"kernel_ratio"' step.json
  ok bench sweep "${bench[@]}" --images 4 --trials 4 --lanes 4 --save sweep.json
  contains 'trials equal either way' out
  contains '"lane_gain"' sweep.json
  if "${emulated}"; then
    kernels=(--rows separable,pass --batch 1 --repeats 1)
  else
    kernels=(--rows dense,depthwise,weights --batch 8 --repeats 1)
  fi
  ok bench kernels "${kernels[@]}" --backend cuda --save kernels.json
  contains '^(add two|dense train) ' out
  contains '"passed": true' kernels.json
  ! grep -q '"passed": false' kernels.json || die "bench kernels: rows are wrong: $(said)"
  step_done "bench"
fi

# --- what is refused -------------------------------------------------------------------------------------------
refused "backend 'cuda:99': there (is|are) [0-9]+ CUDA devices?, numbered from 0" eval net "${data[@]}" --backend cuda:99
refused "backend 'cuda:-1'" eval net "${data[@]}" --backend cuda:-1
refused "backend 'cuda:one': 'one' is not the number" eval net "${data[@]}" --backend cuda:one
refused 'check:cuda.*two backends' eval net "${data[@]}" --backend check:cuda
refused 'check.*eval' train "${data[@]}" --network resnet-20 --backend check:cuda,cpu --out refused
if "${emulated}"; then
  export FTT_EMULATED_MIB=100
  refused 'training of resnet-20 needs [0-9.]+ MiB of the device.*100.0 MiB are free; use less: --batch [0-9]+ needs' \
    train --network resnet-20 "${data[@]}" --batch 64 --backend cuda --out refused
  FTT_EMULATED_MIB=400 refused 'search needs [0-9.]+ MiB of the device.*400.0 MiB are free; use less: --batch [0-9]+ needs' \
    search "${data[@]}" --batch 64 --backend cuda --out refused
  refused 'evaluation of .* needs [0-9.]+ MiB.*use less: --lanes [0-9]+ needs .*, or --batch [0-9]+ needs' \
    eval net "${data[@]}" --fault mibb:1e-3 --batch 256 --lanes 64 --backend cuda
  refused 'needs [0-9.]+ MiB.*use less: --lanes' \
    sweep net "${data[@]}" --fault mibb:1e-3 --batch 256 --lanes 64 --backend cuda --out refused
  refused 'needs [0-9.]+ MiB.*use less: --lanes' \
    analyze net "${data[@]}" --fault mibb:1e-3 --by kind --batch 256 --lanes 64 --backend cuda --out refused
  FTT_EMULATED_MIB=8 refused '8.0 MiB are free; smaller batches do not fit either' eval net "${data[@]}" --backend cuda
  # Less than asked for in advance: an allocation fails, and that is said as well.
  FTT_EMULATED_MIB=1 refused 'memory' bench step --network resnet-20 --batch 64 --backend cuda
  unset FTT_EMULATED_MIB
fi
[[ ! -e refused ]] || die "a refused run left a folder: $(find refused)"
step_done "errors"
echo "cuda_program_test: the program does on cuda what it does on cpu"
