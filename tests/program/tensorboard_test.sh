#!/usr/bin/env bash
# Reads the TensorBoard files of a search and a training with the tensorboard package from PyPI and compares them with
# events.jsonl: after a run, with a torn tail, after a kill and a resume. Exit code 77 where the package cannot be had.
# Usage: tensorboard_test.sh FTT-CUDA VENV-FOLDER
set -euo pipefail

program="$1"
venv="$2"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT

python="${venv}/bin/python"
if ! "${python}" -c 'import tensorboard' 2> /dev/null; then
  if ! { python3 -m venv "${venv}" && "${python}" -m pip install --quiet tensorboard; } > "${work}/pip" 2>&1; then
    echo "tensorboard_test: skipped, pip cannot install tensorboard: $(tail -n 1 "${work}/pip")"
    exit 77
  fi
fi

cat > "${work}/compare.py" << 'EOF'
import json, struct, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run, wanted = sys.argv[1], sys.argv[2].split(",")
events = EventAccumulator(run)
events.Reload()
lines = [json.loads(line) for line in open(run + "/events.jsonl")]
names = {"loss/clean": "loss", "loss/faulty": "fault_loss", "accuracy/clean": "accuracy",
         "accuracy/faulty": "fault_accuracy", "run/learning_rate": "lr", "controller/entropy": "entropy",
         "reward/clean": "reward.clean", "reward/faulty": "reward.fault", "reward/value": "reward.value"}
compared = 0
for tag in wanted:
    scalars = events.Scalars(tag)
    assert len(scalars) == len(lines) > 0, f"{run}: {tag}: {len(scalars)} points for {len(lines)} events"
    for scalar, line in zip(scalars, lines):
        value = line
        for key in names[tag].split("."):
            value = value[key]
        value = struct.unpack("f", struct.pack("f", value))[0]
        assert (scalar.step, scalar.value) == (line["step"], value), f"{run}: {tag}: {scalar} for {line}"
        compared += 1
    times = [scalar.wall_time for scalar in scalars]
    assert times == sorted(times) and times[0] > 1.7e9, f"{run}: {tag}: times {times}"
print(f"{run.split('/')[-1]}: {compared} values of {len(lines)} events agree")
EOF

# check NAME TAGS ARGUMENT...
check() {
  local name="$1" tags="$2" process lines
  shift 2
  compare() { "${python}" "${work}/compare.py" "${work}/$1" "${tags}" 2> "${work}/log" || { cat "${work}/log"; return 1; }; }
  "${program}" "$@" --out "${work}/${name}" > "${work}/log" 2>&1 || { cat "${work}/log"; return 1; }
  compare "${name}"
  printf '\x40\0\0\0\0\0\0\0half a rec' >> "${work}/${name}/events.out.tfevents.run"
  compare "${name}"
  # Killed once an epoch has been written, then resumed: no event twice, none missing.
  "${program}" "$@" --out "${work}/${name}-killed" > "${work}/log" 2>&1 &
  process="$!"
  until grep -qs step "${work}/${name}-killed/events.jsonl"; do
    kill -0 "${process}" 2> /dev/null || { cat "${work}/log"; return 1; }
    sleep 0.02
  done
  kill -KILL "${process}" 2> /dev/null || true
  wait "${process}" 2> /dev/null || true
  "${program}" "$@" --out "${work}/${name}-killed" --resume > "${work}/log" 2>&1 || { cat "${work}/log"; return 1; }
  lines="$(wc -l < "${work}/${name}/events.jsonl")"
  [[ "$(wc -l < "${work}/${name}-killed/events.jsonl")" -eq "${lines}" ]]
  compare "${name}-killed"
}

common=(--data shapes:200,50 --fault mibb:1e-3 --init-channels 4 --cells 3 --stem-multiplier 1
  --preprocess relu_conv_bn_1x1 --batch 20 --epochs 3 --threads 1 --seed 3)
check search loss/clean,accuracy/clean,accuracy/faulty,reward/clean,reward/faulty,reward/value,controller/entropy \
  search "${common[@]}" --primitives none,skip_connect,max_pool_3x3,relu_conv_bn_3x3 \
  --controller-every 2 --derive-samples 2 --derive-batches 1
check train loss/clean,loss/faulty,accuracy/clean,accuracy/faulty,run/learning_rate \
  train "${common[@]}" --network "${work}/search/genotype.txt" --trials 1
