#!/usr/bin/env bash
# Makes a relocatable folder with the program and the shared libraries it needs, to be copied to a machine without root or
# without the packages, e.g. a cluster node. The C library, the graphics driver, cuDNN and cuBLAS are the target's own.
# Usage: scripts/bundle.sh [FOLDER] [BUILD FOLDER]; defaults: ./ftt-cuda-bundle and build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out="${1:-ftt-cuda-bundle}"
build="${2:-build}"
if [[ ! -x "${build}/cli/ftt-cuda" ]]; then
  echo "bundle.sh: ${build}/cli/ftt-cuda is not there; build it first (scripts/build.sh)" >&2
  exit 2
fi
if [[ -e "${out}" && ! -e "${out}/.ftt-cuda-bundle" ]]; then
  echo "bundle.sh: ${out} exists and is not a bundle; name another folder" >&2
  exit 2
fi
rm -rf "${out}"
mkdir -p "${out}/bin" "${out}/lib" "${out}/scripts"
touch "${out}/.ftt-cuda-bundle"

programs=("${build}/cli/ftt-cuda")
# Tests that want a device travel along where they were built; scripts/gpu_check.sh runs them.
for test in cuda_device_test; do
  while IFS= read -r file; do programs+=("${file}"); done < <(find "${build}/tests" -type f -name "${test}" -perm -u+x)
done
# Part of every Linux system, or of its driver: a bundled copy would not fit the target's kernel or loader.
system='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util)\.so.*|libcuda\.so.*|libnvidia.*|linux-vdso.*)$'
for program in "${programs[@]}"; do
  install -m 755 "${program}" "${out}/bin/$(basename "${program}").bin"
  while IFS= read -r library; do
    name="$(basename "${library}")"
    [[ "${name}" =~ ${system} || -e "${out}/lib/${name}" ]] || cp -L "${library}" "${out}/lib/"
  done < <(ldd "${program}" | awk '$2 == "=>" && $3 ~ /^\// {print $3}')
  cat > "${out}/bin/$(basename "${program}")" <<'EOF'
#!/bin/sh
# Starts the program of this bundle with the bundle's libraries, through links of any name as well.
self="$(readlink -f "$0")"
libraries="$(dirname "$(dirname "${self}")")/lib"
LD_LIBRARY_PATH="${libraries}${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}" exec "${self}.bin" "$@"
EOF
  chmod 755 "${out}/bin/$(basename "${program}")"
done
# `bench` looks for CUPTI when it runs; it is small and seldom where the loader looks.
if grep -aq 'libcupti\.so' "${programs[0]}"; then
  cupti="$(find -L /usr/local/cuda/{lib64,lib,extras/CUPTI/lib64} -maxdepth 1 -name 'libcupti.so.[0-9][0-9]' 2> /dev/null |
    head -n 1 || true)"
  [[ -z "${cupti}" ]] || cp -L "${cupti}" "${out}/lib/"
fi
cp -r configs README.md LICENSE "${out}/"
# What scripts/gpu_check.sh needs.
mkdir -p "${out}/benchmarks/peers" "${out}/tests/program"
install -m 755 scripts/gpu_check.sh scripts/gpu_summary.py "${out}/scripts/"
install -m 755 benchmarks/peers/*.py "${out}/benchmarks/peers/"
install -m 755 tests/program/cuda_program_test.sh "${out}/tests/program/"
echo "${out}: $(du -sh "${out}" | cut -f1), $(find "${out}/lib" -type f | wc -l) libraries; start ${out}/bin/ftt-cuda"
