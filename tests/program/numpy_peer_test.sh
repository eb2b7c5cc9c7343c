#!/usr/bin/env bash
# Exports two tiny trained networks and lets benchmarks/peers/numpy_inference.py, which shares no code with the program,
# predict the same images, without faults and under two trials of weight faults. Exit code 77 without python3 and NumPy.
# Usage: numpy_peer_test.sh FTT-CUDA NUMPY_INFERENCE.PY
set -euo pipefail

program="$(realpath "$1")"
peer="$(realpath "$2")"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

python=""
for candidate in "${PYTHON:-python3}" /usr/bin/python3; do
  if [[ -z "${python}" ]] && "${candidate}" -c 'import numpy' 2> /dev/null; then python="${candidate}"; fi
done
if [[ -z "${python}" ]]; then
  echo "numpy_peer_test: SKIPPED, needs Python 3 with NumPy (package python3-numpy)"
  exit 77
fi

quietly() { "$@" > log 2>&1 || { cat log; return 1; }; }

data=(--data shapes:200,60)
quietly "${program}" data dump shapes:200,60 --out test.bin

# check NAME FAULTS TRAIN-ARGUMENT...: one comparison for each word of FAULTS.
check() {
  local name="$1" faults="$2" fault
  shift 2
  quietly "${program}" train "$@" "${data[@]}" --batch 20 --epochs 2 --threads 1 --trials 1 --out "${name}"
  quietly "${program}" export "${name}" --out "${name}.safetensors"
  for fault in ${faults}; do
    quietly "${program}" eval "${name}" "${data[@]}" --fault "${fault}" --trials 2 --lanes 2 --batch 7 \
      --fault-list "${name}.faults" --predictions "${name}.csv"
    # The faults must have changed something, or agreement under them says nothing.
    if [[ "$(grep -c '^-1,' "${name}.csv")" -ne 60 || "$(grep -c '^1,' "${name}.csv")" -ne 60 ]] ||
      diff -q <(sed -n 's/^-1,//p' "${name}.csv") <(sed -n 's/^0,//p' "${name}.csv") > /dev/null; then
      echo "numpy_peer_test: ${name}, ${fault}: rows are missing, or no prediction changed" >&2
      return 1
    fi
    "${python}" "${peer}" "${name}.safetensors" test.bin --trials 2 --fault-list "${name}.faults" \
      --compare "${name}.csv" > log 2>&1 || { echo "numpy_peer_test: ${name}, ${fault}:" >&2; cat log >&2; return 1; }
    echo "numpy_peer_test: ${name}, ${fault}: $(tail -n 1 log)"
  done
}

# Every kind of op: pools, separable and dilated convolutions, factorized reductions, sums, concatenations, empty edges.
cat > genotype.txt << 'EOF'
normal_0=[('sep_conv_3x3', 0, 2), ('sep_conv_5x5', 1, 2), ('dil_conv_3x3', 0, 3), ('dil_conv_5x5', 2, 3), ('max_pool_3x3', 1, 4), ('avg_pool_3x3', 3, 4), ('none', 0, 5), ('skip_connect', 4, 5)], reduce_1=[('relu_conv_bn_3x3', 0, 2), ('relu_conv_bn_5x5', 1, 2), ('conv_1x1', 1, 3), ('skip_connect', 0, 3), ('max_pool_3x3', 0, 4), ('avg_pool_3x3', 1, 4), ('none', 2, 5), ('none', 0, 5)]
EOF
check cells "adsaf:0.05 ibf-weight:0.002+adsaf:0.03" --network genotype.txt --init-channels 4 --cells 3 --stem-multiplier 1
check resnet-20 ibf-weight:0.003 --network resnet-20
