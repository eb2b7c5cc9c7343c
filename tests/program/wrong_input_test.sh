#!/usr/bin/env bash
# Wrong input: one line that says "error" and names what is wrong, at the end of standard error, exit code 2, and nothing
# created or changed.
# Usage: wrong_input_test.sh FTT-CUDA
set -euo pipefail

program="$1"
work="$(mktemp -d)"
trap 'chmod -R u+w "${work}"; rm -rf "${work}"' EXIT
cd "${work}"
failures=0

fail() {
  echo "wrong_input_test: $1" >&2
  failures="$((failures + 1))"
}

# Everything in the work folder, with sizes and times of change.
snapshot() { find . ! -name snapshot ! -name message ! -name .lock ! -path . -printf '%p %y %s %T@\n' | sort; }

# refused PATTERN ARGUMENT...: the message must match the extended regular expression PATTERN.
refused() {
  local pattern="$1" status=0 lines
  shift
  snapshot > snapshot
  "${program}" "$@" > /dev/null 2> message || status="$?"
  lines="$(grep -c 'error' message || true)"
  [[ "${status}" -eq 2 ]] || fail "exit code ${status} instead of 2: $*"
  [[ "${lines}" -eq 1 ]] || fail "${lines} messages instead of one: $*: $(cat message)"
  tail -n 1 message | grep -Eqi -- "${pattern}" || fail "not about '${pattern}': $*: $(cat message)"
  snapshot | diff snapshot - > /dev/null || fail "changed something: $*"
}

data=(--data shapes:100,50)
small=(--batch 20 --epochs 1 --threads 1 --trials 1)

# --- options and keys ------------------------------------------------------------------------------
refused 'unknown option .--bogus' train --bogus
refused 'unknown option .--epoch.*--epochs' train --network resnet-20 --epoch 3 --out run
refused 'unknown command .serach.*search' serach
refused 'network.*required' train --out run
refused 'epochs' train --network resnet-20 "${data[@]}" --epochs=-1 --out run
refused 'batch' train --network resnet-20 "${data[@]}" --batch 0 --out run
refused 'lr' train --network resnet-20 "${data[@]}" --lr nan --out run
printf '[train]\nepohcs = 3\n' > bad_key.toml
refused 'bad_key.toml:2.*epohcs.*epochs' train --config bad_key.toml --network resnet-20 --out run
printf '[train\nepochs = 3\n' > bad_syntax.toml
refused 'bad_syntax.toml:1' train --config bad_syntax.toml --network resnet-20 --out run
refused 'missing.toml' train --config missing.toml --network resnet-20 --out run
refused 'preset.*nano' train --preset nano --network resnet-20 --out run
refused 'backend.*gpu' train --network resnet-20 "${data[@]}" --backend gpu --out run

# --- faults ----------------------------------------------------------------------------------------
refused 'mibb.*1\.5|1\.5.*rate' train --network resnet-20 "${data[@]}" --fault mibb:1.5 --out run
refused '-0\.1' train --network resnet-20 "${data[@]}" --fault mibb:-0.1 --out run
refused '1e-15|resolution' train --network resnet-20 "${data[@]}" --fault mibb:1e-15 --out run
refused 'mibbb.*mibb' train --network resnet-20 "${data[@]}" --fault mibbb:1e-4 --out run
refused 'colour' train --network resnet-20 "${data[@]}" --fault mibb:1e-4,colour=3 --out run

# --- data ------------------------------------------------------------------------------------------
refused 'nowhere' train --network resnet-20 --data cifar10:nowhere --out run
refused 'imagenet' train --network resnet-20 --data imagenet --out run
mkdir truncated mislabelled
for file in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do
  head -c 30730000 /dev/zero > "mislabelled/${file}.bin"
done
printf '\377' | dd of=mislabelled/data_batch_3.bin bs=1 seek=3073 conv=notrunc 2> /dev/null
cp mislabelled/*.bin truncated/
truncate -s 30000000 truncated/data_batch_2.bin
refused 'truncated.*data_batch_2.bin' train --network resnet-20 --data cifar10:truncated --out run
refused 'mislabelled.*data_batch_3.bin.*label' train --network resnet-20 --data cifar10:mislabelled --out run

# --- genotypes -------------------------------------------------------------------------------------
rest=", ('skip_connect', 1, 2)], reduce_1=[('skip_connect', 0, 2), ('max_pool_3x3', 1, 2)]"
echo "normal_0=[('sep_conv_9x9', 0, 2)${rest}" > bad_op.txt
refused 'bad_op.txt.*sep_conv_9x9' train --network bad_op.txt "${data[@]}" --out run
echo "normal_0=[('sep_conv_3x3', 5, 2)${rest}" > bad_edge.txt
refused 'bad_edge.txt.*5' train --network bad_edge.txt "${data[@]}" --out run
refused 'resnet-21.*resnet-20' train --network resnet-21 "${data[@]}" --out run

# --- output folders --------------------------------------------------------------------------------
"${program}" train --network resnet-20 "${data[@]}" "${small[@]}" --out done > /dev/null 2>&1 ||
  fail "a good run failed"
refused 'done.*another run.*--resume' train --network resnet-20 "${data[@]}" "${small[@]}" --out done
refused 'done.*different configuration.*seed' train --network resnet-20 "${data[@]}" "${small[@]}" --seed 9 --out done --resume
mkdir occupied && echo mine > occupied/file
refused 'occupied' train --network resnet-20 "${data[@]}" "${small[@]}" --out occupied
if [[ "$(id -u)" -ne 0 ]]; then
  mkdir read_only && chmod a-w read_only
  refused 'read_only' train --network resnet-20 "${data[@]}" "${small[@]}" --out read_only/run
else  # root may write anywhere but here
  refused '/proc' train --network resnet-20 "${data[@]}" "${small[@]}" --out /proc/ftt-cuda-run
fi
echo file > plain
refused 'plain' train --network resnet-20 "${data[@]}" "${small[@]}" --out plain

# --- checkpoints -----------------------------------------------------------------------------------
refused 'nowhere' eval nowhere "${data[@]}"
cp -r done damaged
for file in damaged/checkpoint-*/*.safetensors; do
  printf 'x' | dd of="${file}" bs=1 seek=100000 conv=notrunc 2> /dev/null
done
refused 'damaged' eval damaged "${data[@]}"
cp -r done cut
for file in cut/checkpoint-*/*.safetensors; do truncate -s 5000 "${file}"; done
refused 'cut' eval cut "${data[@]}"
refused 'damaged' train --network resnet-20 "${data[@]}" "${small[@]}" --out damaged --resume
echo "normal_0=[('skip_connect', 0, 2)${rest}" > genotype.txt
"${program}" train --network genotype.txt "${data[@]}" "${small[@]}" --init-channels 4 --cells 3 --out genotype > /dev/null \
  2>&1 || fail "a good run of a genotype failed"
cp -r done other
rm -r other/checkpoint-* && cp -r genotype/checkpoint-* other/
refused 'other.*another network' train --network resnet-20 "${data[@]}" "${small[@]}" --out other --resume
refused 'nowhere' train --network resnet-20 "${data[@]}" "${small[@]}" --pretrained nowhere --out run
refused 'done.*resnet-20.*not mobilenet-v2' train --network mobilenet-v2 "${data[@]}" "${small[@]}" --pretrained done --out run
refused 'at least one draw' search "${data[@]}" --batch 20 --epochs 1 --derive-draws 0 --out run

# --- campaigns -------------------------------------------------------------------------------------
sweep=(sweep done "${data[@]}" --trials 1 --threads 1)
refused 'nowhere' sweep nowhere --fault mibb:1e-4 --out camp
refused 'fault.*required' "${sweep[@]}" --out camp
refused 'mibb.*--rates' "${sweep[@]}" --fault mibb --out camp
refused 'mibbb.*mibb' "${sweep[@]}" --fault mibbb --rates 1e-4 --out camp
refused '--rates.*1\.5' "${sweep[@]}" --fault mibb --rates 1e-4,1.5 --out camp
refused '--rates.*log2' "${sweep[@]}" --fault mibb --rates 1e-6:1e-3:log2 --out camp
refused 'resolution' "${sweep[@]}" --fault mibb --rates 1e-15 --out camp
refused '--trials.*0' "${sweep[@]}" --trials 0 --fault mibb:1e-4 --out camp
refused '--margin.*2' "${sweep[@]}" --margin 2 --fault mibb:1e-4 --out camp
refused '--margin.*2%%' "${sweep[@]}" --margin 2%% --fault mibb:1e-4 --out camp
refused '--confidence.*outside' "${sweep[@]}" --confidence 200% --fault mibb:1e-4 --out camp
refused 'two networks.*done.*NAME=' sweep done done "${data[@]}" --fault mibb:1e-4 --out camp
refused 'adsaf.*rate' analyze done "${data[@]}" --fault adsaf --out camp
refused '--by.*weather' analyze done "${data[@]}" --fault adsaf:0.1 --by weather --out camp
echo 'This is a letter of more than one hundred bytes, and no database. It has lain here for years, and nobody may write over it.' > letter.sqlite
refused 'letter.sqlite.*not a campaign' "${sweep[@]}" --fault mibb:1e-4 --out letter.sqlite
refused 'plain' "${sweep[@]}" --fault mibb:1e-4 --out plain
"${program}" "${sweep[@]}" --fault mibb:1e-4 --out camp > /dev/null 2>&1 || fail "a good sweep failed"
refused 'camp.*seed 1.*another --out' "${sweep[@]}" --seed 2 --fault mibb:1e-4 --out camp
refused 'camp.*images 50' "${sweep[@]}" --limit 20 --fault mibb:1e-4 --out camp

# --- benchmarks ------------------------------------------------------------------------------------
refused "bench 'stpe' is unknown.*step" bench stpe
refused 'batch 0.*at least 1' bench --batch 0 --backend ref
refused 'trials belongs to bench sweep' bench --trials 4 --backend ref
refused 'network belongs to bench step and bench sweep' bench kernels --network resnet-20 --backend ref
refused "rows 'sparse'.*dense.*optimizer" bench kernels --rows sparse --backend ref
refused 'backend ref.*cuda.*bench_conv' bench kernels --backend ref
refused 'sweep.*images' bench sweep --images 1 --network resnet-20 --backend ref
refused 'faults.*--fault' bench sweep --fault none --network resnet-20 --backend ref

# --- comparisons -----------------------------------------------------------------------------------
refused 'budget' compare --preset paper-mibb --budget 0 --out comparison

[[ "${failures}" -eq 0 ]] || { echo "wrong_input_test: ${failures} failures" >&2; exit 1; }
echo "wrong_input_test: everything wrong was refused, with one line and exit code 2"
