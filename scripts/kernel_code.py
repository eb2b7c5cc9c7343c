#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels: a line for each, from the machine code in a library or object file.

Usage: kernel_code.py [FILE] [--kernel TEXT]
  FILE           default: build/kernels/cuda/libftt_cuda_kernels.a
  --kernel TEXT  only kernels whose name contains TEXT, with their innermost loops and what these consist of
Needs cuobjdump, of the CUDA toolkit or of the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm (on PATH or
named by $CUOBJDUMP). Columns, of the kernel itself without the functions that it calls:
  regs, stack  registers of a thread; bytes for objects whose address a call is given
  load at      instructions before the first load from global memory, i.e. what a block does before it asks for data
  burst        loads and asynchronous copies from there to the first instruction that may have to wait for one
  divisions    by numbers the compiler does not know; those before the first load in brackets
  code         instructions
"""
import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys

LOADS = ("LDG", "LDGSTS", "LD")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,6})\*/\s+(.*?)\s*;")
PREDICATE = re.compile(r"^@!?U?P\w+\s+")


def die(message):
    sys.exit(f"kernel_code.py: {message}")


def tool_output(tool, option, file):
    done = subprocess.run([tool, option, file], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"{tool} {option} {file} failed: {done.stderr.strip() or done.returncode}")
    names = subprocess.run(["c++filt"], input=done.stdout, capture_output=True, text=True, check=False)
    return names.stdout if names.returncode == 0 else done.stdout


def short_name(function):
    """ftt::cuda::QuantizeKernel<__half>(...) -> Quantize<half>"""
    name = re.sub(r"ftt::(cuda::)?|\bvoid ", "", function)
    name = re.sub(r"\((\w+)\)(\d+)", r"\1 \2", name)  # enumerators
    name = re.sub(r"\(.*", "", name).replace("__half", "half").replace("unsigned short", "uint16")
    return name.replace("Kernel", "", 1).replace("> >", ">>")


class Kernel:
    def __init__(self, name):
        self.name = name
        self.code = []  # (address, instruction without predicate, opcode)
        self.ends = []  # indices of exits that every thread takes
        self.registers = self.stack = None

    def add(self, address, text):
        plain = PREDICATE.sub("", text)
        if text.startswith("EXIT"):
            self.ends.append(len(self.code))
        self.code.append((address, plain, plain.split(".")[0].split()[0]))

    def body(self):
        """The kernel's own instructions: functions that it calls lie behind its last exit."""
        for end in self.ends:
            limit = self.code[end][0]
            if all(target <= limit for _, target in self.jumps(self.code[: end + 1])):
                return self.code[: end + 1]
        return self.code

    @staticmethod
    def jumps(code):
        for address, plain, opcode in code:
            if opcode in ("BRA", "BSSY"):
                target = re.search(r"0x([0-9a-f]+)\)?$", plain)
                if target:
                    yield address, int(target.group(1), 16)

    def loops(self):
        """(first address, last address) of loops that hold no other, largest first."""
        found = sorted({(to, at) for at, to in self.jumps(self.body()) if to < at})
        inner = [a for a in found if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in found)]
        return sorted(inner, key=lambda loop: loop[0] - loop[1])

    def figures(self):
        body = self.body()
        is_load = [opcode in LOADS for _, _, opcode in body]
        first = is_load.index(True) if True in is_load else None
        divisions = [i for i, (_, plain, _) in enumerate(body) if plain.startswith("MUFU.RCP")]
        burst = 0
        if first is not None:
            arriving = set()
            for i in range(first, len(body)):
                plain, load = body[i][1], is_load[i]
                operands = re.findall(r"\bR(\d+)", plain)
                # What reads the destination of a load waits for it.
                if arriving & {int(r) for r in (operands if not load else operands[1:])}:
                    break
                if load:
                    burst += 1
                    if operands and not plain.startswith("LDGSTS"):
                        kind = plain.split()[0]
                        wide = 4 if ".128" in kind else 2 if ".64" in kind else 1
                        arriving |= {int(operands[0]) + i for i in range(wide)}
                if plain.startswith(("BAR", "DEPBAR")) or i in self.ends:
                    break
        before = sum(1 for i in divisions if first is None or i < first)
        return {
            "regs": self.registers, "stack": self.stack, "load at": first if first is not None else "-",
            "burst": burst, "divisions": f"{len(divisions)} ({before})", "code": len(body),
        }


def read_kernels(tool, file):
    kernels, now = {}, None
    for line in tool_output(tool, "-sass", file).splitlines():
        start = re.match(r"\s*Function : (.*)", line)
        if start:
            now = kernels.setdefault(start.group(1).strip(), Kernel(start.group(1).strip()))
            continue
        instruction = INSTRUCTION.match(line)
        if instruction and now:
            now.add(int(instruction.group(1), 16), instruction.group(2))
    name = None
    for line in tool_output(tool, "--dump-resource-usage", file).splitlines():
        start = re.match(r"\s*Function (.*?):?$", line)
        if start:
            name = start.group(1)
        usage = re.search(r"REG:(\d+) STACK:(\d+)", line)
        if usage and name in kernels:
            kernels[name].registers, kernels[name].stack = map(int, usage.groups())
    return [k for k in kernels.values() if k.code]


def print_loops(kernel):
    for begin, end in kernel.loops():
        body = [entry for entry in kernel.code if begin <= entry[0] <= end]
        counts = collections.Counter(opcode for _, _, opcode in body)
        print(f"    loop of {len(body):5}: " + ", ".join(f"{n} {name}" for name, n in counts.most_common(14)))


def main():
    parser = argparse.ArgumentParser(usage="kernel_code.py [FILE] [--kernel TEXT]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default="build/kernels/cuda/libftt_cuda_kernels.a")
    parser.add_argument("--kernel", default="")
    options = parser.parse_args()
    tool = os.environ.get("CUOBJDUMP") or shutil.which("cuobjdump") or "/usr/local/cuda/bin/cuobjdump"
    if not shutil.which(tool):
        die("there is no cuobjdump; install the CUDA toolkit's, or the PyPI packages nvidia-cuda-cuobjdump and "
            "nvidia-cuda-nvdisasm, and put it on PATH or name it in $CUOBJDUMP")
    if not os.path.exists(options.file):
        die(f"{options.file} is not there; build with -DFTT_CUDA=ON, or name a library or object file")
    kernels = [(short_name(k.name), k) for k in read_kernels(tool, options.file)]
    kernels = sorted((k for k in kernels if options.kernel in k[0]), key=lambda k: k[0])
    if not kernels:
        die(f"no machine code{f' of {options.kernel}' if options.kernel else ''} in {options.file}")
    width = max(len(name) for name, _ in kernels)
    columns = ("regs", "stack", "load at", "burst", "divisions", "code")
    print(f"{'kernel':{width}}" + "".join(f" {c:>9}" for c in columns))
    for name, kernel in kernels:
        figures = kernel.figures()
        print(f"{name:{width}}" + "".join(f" {figures[c]!s:>9}" for c in columns))
        if options.kernel:
            print_loops(kernel)


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" is not an error
    main()
