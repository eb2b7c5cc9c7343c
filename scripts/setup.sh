#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing. Says what it will do first; does nothing when all are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache git ca-certificates
  libdnnl-dev ocl-icd-opencl-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libtomlplusplus-dev
  zlib1g-dev libssl-dev libsqlite3-dev libgtest-dev libbenchmark-dev pkg-config
  libjs-chart.js graphviz gnuplot-nox
)
# Format and lint checks of scripts/test.sh. The version is pinned where it exists: formatting differs between versions.
for tool in "$@"; do
  case "${tool}" in
    --with-checks)
      packages+=(clang-format-14 clang-tidy-14 python3-numpy)
      # Reports are looked at in a browser. Ubuntu's package of that name only fetches a snap.
      if grep -q '^ID=debian' /etc/os-release; then packages+=(chromium); fi
      ;;
    *)
      echo "setup.sh: unknown argument '${tool}'; there is --with-checks" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query > /dev/null; then
  echo "setup.sh: no dpkg here. Install these with your own package manager:" >&2
  echo "  ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  state="$(dpkg-query -W -f '${db:Status-Status}' "${package}" 2> /dev/null || true)"
  [[ "${state}" == installed ]] || missing+=("${package}")
done

if [[ "${#missing[@]}" -eq 0 ]]; then
  echo "setup: all packages are installed"
  exit 0
fi

as_root=()
if [[ "$(id -u)" -ne 0 ]]; then
  if ! command -v sudo > /dev/null; then
    echo "setup.sh: missing packages: ${missing[*]}" >&2
    echo "setup.sh: run this as root, or install sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: will install with apt: ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
echo "setup: done"
