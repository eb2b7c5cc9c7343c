#!/usr/bin/env bash
# The small experiment on CIFAR-10: searches an architecture under faults, trains it with and without faults, and measures
# both over fault rates. Stopped, it goes on where it was; what is finished is not done again.
# Usage: scripts/cifar10_small.sh mibb|adsaf [FOLDER] [-- OPTIONS of search and train]; default folder: runs/small-MODEL
# $FTT_DATA_DIR names the folder with cifar-10-batches-bin (`ftt-cuda data fetch cifar10`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program="${FTT_PROGRAM:-build/cli/ftt-cuda}"
model="${1:-}"
case "${model}" in
  mibb)
    search_options=(--fault mibb:1e-4)
    rates=(--fault mibb:1e-5 --fault mibb:1e-4 --fault mibb:3e-4)
    ;;
  adsaf)
    search_options=(--fault adsaf:0.08 --fault-reward-coeff 0.2)
    rates=(--fault adsaf:0.01 --fault adsaf:0.04 --fault adsaf:0.08)
    ;;
  *)
    echo "cifar10_small.sh: which faults? mibb or adsaf" >&2
    exit 2
    ;;
esac
shift
out="runs/small-${model}"
if [[ $# -gt 0 && "$1" != "--" ]]; then
  out="$1"
  shift
fi
[[ "${1:-}" == "--" ]] && shift

# begin_or_resume RESULT COMMAND FOLDER OPTIONS...: nothing where RESULT exists.
begin_or_resume() {
  local result="$1" command="$2" folder="$3"
  shift 3
  if [[ -f "${folder}/${result}" ]]; then
    echo "${folder}: finished"
  elif [[ -f "${folder}/config.toml" ]]; then
    "${program}" "${command}" --resume --out "${folder}"
  else
    "${program}" "${command}" --preset small --out "${folder}" "$@"
  fi
}

begin_or_resume report.json search "${out}/search" "${search_options[@]}" "$@"
genotype="${out}/search/genotype.txt"
begin_or_resume result.json train "${out}/with-faults" --network "${genotype}" "${search_options[@]:0:2}" "$@"
begin_or_resume result.json train "${out}/without-faults" --network "${genotype}" "${search_options[@]:0:2}" \
  --fault-loss-coeff 0 "$@"
for network in with-faults without-faults; do
  "${program}" eval "${out}/${network}" "${rates[@]}" --trials 5
done
