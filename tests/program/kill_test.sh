#!/usr/bin/env bash
# Kills a search, then a training of what it found, with SIGKILL at random moments, resumes each time, and compares the
# checkpoint and the genotype they end with, byte for byte, with those of undisturbed runs.
# Usage: kill_test.sh FTT-CUDA [KILLS-OF-EACH [SEED]]
set -euo pipefail

program="$1"
kills="${2:-10}"
RANDOM="${3:-1}"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT

now_ms() { echo "$(($(date +%s%N) / 1000000))"; }

# What a run must end with: every file that holds no time of day.
digests() {
  local dir
  dir="$(find "$1" -maxdepth 1 -name 'checkpoint-*' | sort -V | tail -n 1)"
  (cd "${dir}" && echo "${dir##*/}" && sha256sum -- *)
  if [[ -f "$1/genotype.txt" ]]; then sha256sum < "$1/genotype.txt"; fi
}

# check NAME ARGUMENT...: an undisturbed run, then one that is killed and resumed until it ends.
check() {
  local name="$1" started took process delay killed=0
  shift
  started="$(now_ms)"
  "${program}" "$@" --out "${work}/${name}" > "${work}/log" 2>&1 || { cat "${work}/log"; return 1; }
  took="$(($(now_ms) - started))"
  # Moments are spread over a little more than a run's length at first; less when runs keep ending too soon.
  while [[ "${killed}" -lt "${kills}" ]]; do
    rm -rf "${work}/${name}-killed"
    while [[ "${killed}" -lt "${kills}" ]]; do
      "${program}" "$@" --out "${work}/${name}-killed" --resume > "${work}/log" 2>&1 &
      process="$!"
      delay="$((RANDOM % (took * 3 / 4 + 1)))"
      sleep "$((delay / 1000)).$(printf '%03d' "$((delay % 1000))")"
      if ! kill -KILL "${process}" 2> /dev/null; then
        wait "${process}" || { cat "${work}/log"; return 1; }
        break
      fi
      wait "${process}" 2> /dev/null || true
      killed="$((killed + 1))"
    done
    # Whatever state the last kill left: it must end, and end alike.
    "${program}" "$@" --out "${work}/${name}-killed" --resume > "${work}/log" 2>&1 ||
      { cat "${work}/log"; return 1; }
    if ! diff <(digests "${work}/${name}") <(digests "${work}/${name}-killed"); then
      echo "kill_test: ${name} ended differently after ${killed} kills" >&2
      return 1
    fi
  done
  echo "kill_test: ${name} killed ${killed} times, resumed, and ended with the same bytes"
}

common=(--data shapes:400,100 --fault mibb:1e-3 --init-channels 4 --cells 3 --stem-multiplier 1
  --preprocess relu_conv_bn_1x1 --batch 20 --epochs 2 --threads 1 --seed 3 --checkpoint-minutes 0.002)
check search search "${common[@]}" --primitives none,skip_connect,max_pool_3x3,relu_conv_bn_3x3 \
  --controller-every 2 --derive-draws 8 --derive-samples 4 --derive-batches 1
check train train "${common[@]}" --network "${work}/search/genotype.txt" --trials 1
