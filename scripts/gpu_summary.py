#!/usr/bin/env python3
"""Sums up a folder of scripts/gpu_check.sh: FOLDER/summary.md with machine, parts, targets and all tables.

Usage: gpu_summary.py FOLDER
What a run did not measure is listed as not measured. Needs nothing but the standard library.
"""
import json
import os
import statistics
import sys

SEARCH_EPOCHS = 100  # of the mibb preset


class Results:
    """What lies in the folder; missing or broken files are empty."""

    def __init__(self, folder):
        self.folder = folder
        self.machine = self.text("machine.txt")
        self.rehearsal = "emulated device" in self.machine
        self.step = self.rows("bench-step.json")
        self.overlap = self.rows("bench-overlap.json")
        self.batch = self.rows("bench-batch.json")
        self.sweep = self.rows("bench-sweep.json")
        self.kernels = self.json("bench-kernels.json") or {}
        self.peers = self.json("peers.json") or {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def json(self, name):
        try:
            return json.loads(self.text(name))
        except ValueError:
            return None

    def rows(self, name):
        rows = self.json(name) or []
        for row in rows:  # a genotype file's folder says nothing
            row["network"] = os.path.basename(row["network"])
        return rows

    def kernel_rows(self, op):
        """Rows of that op, without those whose results are wrong."""
        return [r for r in self.kernels.get("rows", []) if r["op"].startswith(op) and r["passed"]]

    def machine_line(self, key):
        for line in self.machine.splitlines():
            if line.startswith(key):
                return line[len(key):].strip()
        return ""

    def parts(self):
        """NAME: (state, seconds, remark, command) of each part's last run, in order of their first."""
        parts = {}
        for line in self.text("status.tsv").splitlines():
            fields = (line + "\t\t\t\t").split("\t")
            parts[fields[0]] = fields[1:5]
        return parts

    def command(self, part):
        """How its rows were made, as a line of Markdown."""
        command = self.parts().get(part, [""])[-1].replace(self.folder, "FOLDER")
        return f"`{command}`\n" if command else ""

    def run(self, name, mark):
        """Of search or train: (epochs done, minutes over all calls, ended, data set), or None."""
        calls = [line.split("\t") for line in self.text(f"{name}-calls.tsv").splitlines()]
        if not calls:
            return None
        epochs = 0
        for line in self.text(f"{name}-mibb/events.jsonl").splitlines():
            try:
                epochs = max(epochs, json.loads(line).get("epoch", 0))
            except ValueError:  # a line that a kill cut off
                pass
        ended = os.path.exists(self.path(f"{name}-mibb/{mark}"))
        return epochs, sum(float(c[0]) for c in calls) / 60, ended, calls[-1][1]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value, digits=2):
    return f"{value:.{digits}f}" if value else "-"


def quotient(over, under):
    return over / under if over and under else 0


def measured(rows, value):
    """NAME: value pairs, without zeros, which mean not measured."""
    pairs = [(r.get("network") or r.get("shape"), value(r)) for r in rows]
    return [(name, v) for name, v in pairs if v]


def every(pairs):
    return ", ".join(f"{name} {v:.3f}" for name, v in pairs)


def at_most(limit, pairs):
    """All must be; value and verdict."""
    return every(pairs), max(v for _, v in pairs) <= limit


def at_least(limit, pairs):
    return every(pairs), min(v for _, v in pairs) >= limit


def median_at_least(limit, pairs):
    """Of many rows the median counts; the spread is shown."""
    v = sorted(v for _, v in pairs)
    middle = statistics.median(v)
    text = f"median {middle:.3f} ({v[0]:.3f} to {v[-1]:.3f}, {sum(x >= limit for x in v)} of {len(v)} rows meet it)"
    return text, middle >= limit


def targets(r):
    """Rows number, target, value, verdict."""
    def steps(what):
        return [row for row in r.step if row["what"] == what]

    def channels(row):  # of "128 x 32x32x16 3x3 stride 1"
        return int(row["shape"].split()[2].split("x")[2])

    def chain(row):
        return quotient(row["chain_us"], row["us"])

    def is_3x3(row):
        return " 3x3 " in row["shape"]

    out = []

    def add(name, text, limit, judge, pairs):
        value, met = judge(limit, pairs) if pairs else ("", None)
        verdict = "not measured" if met is None else "met" if met else "missed"
        if r.rehearsal and met is not None:
            verdict += " (rehearsal)"
        out.append((name, text, value or "-", verdict))

    add("1", "faulty over clean, deploy forward, at most 1.03", 1.03, at_most,
        measured(steps("deploy forward"), lambda row: row["fault_ratio"]))
    add("2", "faulty over clean, training step, at most 1.03", 1.03, at_most,
        measured(steps("training step"), lambda row: row["fault_ratio"]))
    with_cudnn = [row for row in r.kernel_rows("") if "cuDNN" in row["chain"]]
    add("3a", "op by op with cuDNN over ours, depthwise + pointwise, at least 3", 3, median_at_least,
        measured([row for row in with_cudnn if row["op"].startswith("dw+pw")], chain))
    add("3b", "op by op with cuDNN over ours, 3x3, at least 2", 2, median_at_least,
        measured([row for row in with_cudnn if row["op"].startswith("dense") and is_3x3(row)], chain))
    add("4", "best cuDNN plan over our convolution alone, 16 to 128 channels, at least 0.9", 0.9, median_at_least,
        measured([row for row in r.kernel_rows("dense bare") if 16 <= channels(row) <= 128],
                 lambda row: quotient(row["peer_us"], row["us"])))
    add("5", "depthwise: effective bandwidth over copy bandwidth, at least 0.8", 0.8, median_at_least,
        measured([row for row in r.kernel_rows("depthwise bare") if row["floor"] == "bytes"],
                 lambda row: quotient(row["floor_us"], row["us"])))
    add("6", "training step: wall time over the sum of its kernels, at most 1.05", 1.05, at_most,
        measured(steps("training step"), lambda row: row["kernel_ratio"]))
    add("7", "16 trials one after another over in lanes, at least 4", 4, at_least,
        measured([row for row in r.sweep if r.rehearsal or (row["trials"], row["lanes"]) == (16, 16)],
                 lambda row: row["lane_gain"]))
    on_gpu = r.peers.get("device", "").startswith("cuda")
    add("8", "PyTorch eager with injection as in papers over our step, at least 30", 30, at_least,
        [("resnet-20", r.peers["ratio"])] if on_gpu and r.peers.get("ratio") else [])
    out.append(search_target(r))
    add("12", "memory plan over its lower bound, training step, at most 1.10", 1.10, at_most,
        measured(steps("training step"), lambda row: row["arena_over_bound"]))
    return out


def search_target(r):
    text = f"search of the mibb preset, {SEARCH_EPOCHS} epochs, at most 10 minutes"
    search = r.run("search", "report.json")
    if search is None or search[0] == 0:
        return "9", text, "-", "not measured"
    epochs, minutes, ended, data = search
    value = f"{epochs} epochs and {'the derivation' if ended else 'no derivation'} in {minutes:.1f} minutes ({data})"
    if r.rehearsal:
        return "9", text, value, "not measured: a rehearsal's preset is smaller"
    if ended:
        return "9", text, value, "met" if minutes <= 10 else "missed"
    if minutes > 10:
        return "9", text, value, "missed"
    return "9", text, value, f"not ended; {minutes / epochs * SEARCH_EPOCHS:.1f} minutes at this rate"


def training_line(r):
    """What became of the training of what the search found."""
    run = r.run("train", "result.json")
    if run is None or run[0] == 0:
        return "The training of what the search found: not measured.\n"
    epochs, minutes, ended, data = run
    line = f"The training of what the search found ({data}): {epochs} epochs in {minutes:.1f} minutes"
    if not ended:
        return line + ", not ended.\n"
    result = r.json("train-mibb/result.json") or {}
    line += f", {100 * result.get('clean_accuracy', 0):.2f} % clean"
    if result.get("trials"):
        line += (f", {100 * statistics.mean(result['trials']):.2f} % under {result.get('faults')} in the mean of "
                 f"{len(result['trials'])} trials")
    return line + f" on {result.get('test_images')} test images.\n"


def step_table(rows):
    return table(
        ["network", "what", "clean ms", "faulty ms", "faulty / clean", "wall / kernels", "kernels", "images/s",
         "values equal to ref", "arena MiB", "arena / bound"],
        [[row["network"], row["what"], number(row["clean_ms"], 3), number(row["faulty_ms"], 3),
          number(row["fault_ratio"], 3), number(row["kernel_ratio"], 3), row["kernels"] or "-",
          number(row["images_per_second"], 0), row["parity_values"] or "-", number(row["arena_mib"], 1),
          number(row["arena_over_bound"], 3)] for row in rows])


def sweep_table(rows):
    return table(
        ["network", "images", "trials", "lanes", "clean ms", "one by one ms", "in lanes ms", "a trial / clean", "gain",
         "images/s"],
        [[row["network"], row["images"], row["trials"], row["lanes"], number(row["clean_ms"]), number(row["serial_ms"]),
          number(row["lanes_ms"]), number(row["fault_ratio"], 3), number(row["lane_gain"]),
          number(row["images_per_second"], 0)] for row in rows])


def kernel_table(rows):
    def ratio(over, under):
        return number(quotient(over, under))

    out = []
    for row in rows:
        remarks = [row["parity"]] + [f"{what}: {row[what]}" for what in ("peer", "chain") if row[what]]
        out.append([row["op"], row["shape"], row["faults"], number(row["us"]), number(row["floor_us"]), row["floor"],
                    ratio(row["floor_us"], row["us"]), number(row["peer_us"]), ratio(row["peer_us"], row["us"]),
                    number(row["chain_us"]), ratio(row["chain_us"], row["us"]), ratio(row["us"], row["clean_us"]),
                    ("" if row["passed"] else "**wrong** ") + "; ".join(remarks)])
    return table(["kernel", "shape", "faults", "us", "floor us", "by", "of it", "peer us", "/ours", "chain us", "/ours",
                  "faulty / clean", "checked against"], out)


def summary(r):
    gpu = r.machine_line("nvidia-smi").split(",")[0] or r.machine_line("backends").split("first: ")[-1]
    if gpu.startswith("is not there"):
        gpu = r.machine_line("backends").split("first: ")[-1]
    out = [f"# {gpu or 'Unknown device'}, {r.machine_line('date').split('T')[0]}\n"]
    if r.rehearsal:
        out.append("A rehearsal on the emulated device: every figure here is meaningless.\n")
    out.append("`scripts/gpu_check.sh`; `docs/kernels.md` says how to read the tables.\n")
    out.append("```\n" + (r.machine.strip() or "machine.txt is missing") + "\n```\n")
    out.append("## Targets\n")
    out.append("Faults are `mibb:1e-4`. Where rows are many, their median decides; else the worst. Rows whose results "
               "are wrong do not count.\n")
    out += [table(["", "target", "measured", ""], targets(r)), training_line(r)]
    out.append("## Parts\n")
    out.append(table(["part", "", "seconds", "remark"], [[name, *fields[:3]] for name, fields in r.parts().items()]))
    if r.step:
        out += ["## Forward passes and training steps\n", r.command("bench-step"), step_table(r.step)]
    if r.overlap:
        out += ["## The same with `FTT_GRAPH_OVERLAP=1`\n", r.command("bench-overlap"), step_table(r.overlap)]
    if r.batch:
        out += ["## The same in larger batches\n", r.command("bench-batch"), step_table(r.batch)]
    if r.sweep:
        out += ["## Trials in lanes\n", r.command("bench-sweep"), sweep_table(r.sweep)]
    if r.kernels.get("rows"):
        rate = r.kernels["copy_bytes_per_second"]
        out += ["## Kernels\n", f"Copy {1e-9 * rate:.0f} GB/s; {r.kernels['matrix']}; {r.kernels['peers']}.\n",
                r.command("bench-kernels"), kernel_table(r.kernels["rows"])]
    if r.peers:
        out += ["## PyTorch\n", table(
            ["PyTorch", "device", "batch", "its step ms", "ours ms", "ratio"],
            [[r.peers["torch"], r.peers["device"], r.peers["batch"], number(r.peers["torch_ms"]),
              number(r.peers.get("ftt_cuda_ms", 0)), number(r.peers.get("ratio", 0), 1)]])]
    return "\n".join(out)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-") or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__.strip())
    results = Results(sys.argv[1])
    with open(results.path("summary.md"), "w", encoding="utf-8") as file:
        file.write(summary(results))
    for name, text, value, verdict in targets(results):
        print(f"{name:>3}  {verdict:<14}  {text}: {value}")


if __name__ == "__main__":
    main()
