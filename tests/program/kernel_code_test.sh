#!/usr/bin/env bash
# scripts/kernel_code.py over machine code that a made-up cuobjdump prints.
# Usage: kernel_code_test.sh SCRIPT
set -euo pipefail
script="$1"
work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
cd "${work}"

if ! command -v python3 > /dev/null; then
  echo "SKIPPED: no python3"
  exit 77
fi
fail() {
  echo "FAILED: $1" >&2
  cat said >&2
  exit 1
}

mkdir tools
cat > tools/cuobjdump << 'TOOL'
#!/usr/bin/env bash
if [[ "$1" == --dump-resource-usage ]]; then
  echo " Function _ZN3ftt4cuda10SomeKernelIiEEvPi:"
  echo "  REG:24 STACK:8 SHARED:1024 LOCAL:0 CONSTANT[0]:540 TEXTURE:0 SURFACE:0 SAMPLER:0"
  exit
fi
cat << 'CODE'
	code for sm_90
		Function : _ZN3ftt4cuda10SomeKernelIiEEvPi
        /*0000*/                   LDC R1, c[0x0][0x28] ;     /* 0x00000a00ff017b82 */
        /*0010*/                   MUFU.RCP R2, R3 ;
        /*0020*/              @!P0 EXIT ;
        /*0030*/                   LDG.E.64 R4, desc[UR4][R8.64] ;
        /*0040*/                   IADD3 R9, R8, 0x1, RZ ;
        /*0050*/                   LDG.E R6, desc[UR4][R8.64] ;
        /*0060*/                   FADD R7, R5, R7 ;
        /*0070*/                   LDG.E R10, desc[UR4][R8.64] ;
        /*0080*/                   MUFU.RCP R2, R10 ;
        /*0090*/               @P0 BRA 0x60 ;
        /*00a0*/                   EXIT ;
        /*00b0*/                   MUFU.RCP R2, R10 ;
        /*00c0*/                   RET.REL.NODEC R20 0x0 ;
CODE
TOOL
chmod +x tools/cuobjdump
touch kernels.a

CUOBJDUMP="${work}/tools/cuobjdump" python3 "${script}" kernels.a --kernel Some > said 2>&1 || fail "it does not run"
# Registers, stack, instructions before the first load, two loads before one is used, divisions, own instructions.
grep -qE '^Some<int> +24 +8 +3 +2 +2 \(1\) +11$' said || fail "the figures are others"
grep -qE 'loop of +4: .*1 FADD' said || fail "the loop is another"

CUOBJDUMP="${work}/tools/cuobjdump" python3 "${script}" kernels.a --kernel Other > said 2>&1 && fail "a kernel that is not there"
grep -q 'no machine code of Other in kernels.a' said || fail "no word about the missing kernel"
CUOBJDUMP="${work}/tools/cuobjdump" python3 "${script}" nothing.a > said 2>&1 && fail "a file that is not there"
grep -q 'nothing.a is not there; build with' said || fail "no word about the missing file"
CUOBJDUMP="${work}/tools/none" python3 "${script}" kernels.a > said 2>&1 && fail "a tool that is not there"
grep -q 'there is no cuobjdump; install' said || fail "no word about the missing tool"
echo passed
