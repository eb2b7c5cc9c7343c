#!/usr/bin/env python3
"""Integer inference of a network that `ftt-cuda export` wrote, in NumPy alone.

Knows nothing of ftt-cuda but docs/export.md and docs/semantics.md, so that agreement means something:
predictions are the same bit for bit, without faults and under the weight faults of a fault list
(`ftt-cuda eval --fault-list`).

Example:
  ftt-cuda export runs/r20 --out r20.safetensors
  ftt-cuda eval runs/r20 --fault adsaf:0.02 --trials 2 --limit 200 --fault-list faults.csv \\
    --predictions program.csv
  numpy_inference.py r20.safetensors data/cifar-10-batches-bin/test_batch.bin --limit 200 \\
    --fault-list faults.csv --trials 2 --out peer.csv --compare program.csv
"""

import argparse
import csv
import json
import sys

import numpy as np

TYPES = {"I8": np.int8, "F32": np.float32}


# --- files ---------------------------------------------------------------------------------------

def read_network(path):
    """The program (a dict) and its tensors by name."""
    data = open(path, "rb").read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__")
    if metadata.get("format") != "ftt-cuda deployed network" or metadata["version"] != "1":
        sys.exit(f"{path}: not an exported network of version 1")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return json.loads(metadata["program"]), tensors


def read_images(path, shape, limit):
    """Labels [n] and pixels [n][h][w][c] of CIFAR-10 records: label byte, then one plane per channel."""
    h, w, c = shape
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + h * w * c)
    records = records[:limit] if limit else records
    return records[:, 0], records[:, 1:].reshape(-1, c, h, w).transpose(0, 2, 3, 1)


def read_faults(path):
    """Rows of a fault list as dicts of text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# --- arithmetic ----------------------------------------------------------------------------------

def saturate(values, bits):
    return np.clip(values, -(1 << bits - 1), (1 << bits - 1) - 1).astype(np.int8)


def fma(a, b, c):
    """float32 a * b + c, rounded once. The product is exact in float64; the sum is rounded to odd there,
    which makes the second rounding, to float32, the only one that counts (Boldo and Melquiond, 2008)."""
    product = a.astype(np.float64) * b.astype(np.float64)
    c = c.astype(np.float64)
    total = product + c
    virtual = total - product
    error = (product - (total - virtual)) + (c - virtual)
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def round_shift(values, shift):
    """values * 2^-shift, rounded to nearest, ties to even."""
    values = values.astype(np.int64)
    if shift <= 0:
        return values << min(-shift, 32)
    if shift > 30:
        return np.zeros_like(values)
    return (values + (1 << shift - 1) - 1 + (values >> shift & 1)) >> shift


def divide_round(values, counts):
    """values / counts, rounded to nearest, ties to even."""
    floor = values // counts
    twice = 2 * (values - floor * counts)
    return floor + ((twice > counts) | ((twice == counts) & (floor % 2 != 0)))


# --- ops: codes [n][h][w][c] ---------------------------------------------------------------------

def windows(x, op, out_shape, fill):
    """Yields (ky, kx, x at that tap for every output pixel); `fill` outside the map."""
    (oh, ow, _), k, stride, dilation = out_shape, op["kernel"], op["stride"], op["dilation"]
    first = op["offset"] - op["pad"]
    last = first + (k - 1) * dilation + stride * (max(oh, ow) - 1)
    margin = max(0, -first, last + 1 - min(x.shape[1:3]))
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), constant_values=fill)
    for ky in range(k):
        for kx in range(k):
            y0, x0 = (margin + first + t * dilation for t in (ky, kx))
            yield ky, kx, padded[:, y0:y0 + stride * oh:stride, x0:x0 + stride * ow:stride]


def convolve(x, weight, op, out_shape):
    groups, out_c, in_c = op["groups"], weight.shape[0], weight.shape[3]
    total = np.zeros((len(x), *out_shape), np.float64)  # every sum is an integer far below 2^53
    weight = weight.astype(np.float64)
    for ky, kx, tap in windows(x.astype(np.float64), op, out_shape, 0):
        if in_c == 1 and groups == out_c:
            total += tap * weight[:, ky, kx, 0]
            continue
        for g in range(groups):
            outs = slice(g * out_c // groups, (g + 1) * out_c // groups)
            total[..., outs] += tap[..., g * in_c:(g + 1) * in_c] @ weight[outs, ky, kx].T
    return total.astype(np.int64)


def pool(x, op, out_shape):
    if op["kind"] == "max_pool":
        return np.max([tap for _, _, tap in windows(x.astype(np.int64), op, out_shape, -128)], axis=0)
    total = sum(tap for _, _, tap in windows(x.astype(np.int64), op, out_shape, 0))
    counts = sum(tap for _, _, tap in windows(np.ones_like(x, np.int64), op, out_shape, 0))
    return divide_round(total, counts)


def add(parts, exponents, exponent):
    aligned = max(min(exponents), max(exponents) - 20)
    total = sum(round_shift(x, aligned - e) for x, e in zip(parts, exponents))
    return round_shift(total, exponent - aligned)


def run(program, tensors, weights, pixels):
    """Logits [n][classes]. weights: codes by op index."""
    bits, values = program["bits"], program["values"]
    table = tensors[program["input"]]
    codes = {0: np.stack([table[c][pixels[..., c]] for c in range(pixels.shape[3])], axis=3)}
    for i, op in enumerate(program["ops"]):
        parts = [np.maximum(codes[p["value"]], 0) if p["relu"] else codes[p["value"]] for p in op["inputs"]]
        exponents = [values[p["value"]]["exponent"] for p in op["inputs"]]
        kind, out = op["kind"], values[op["output"]]
        if kind == "add" and not parts:
            codes[op["output"]] = np.zeros((len(pixels), *out["shape"]), np.int8)
            continue
        if kind == "add":
            codes[op["output"]] = saturate(add(parts, exponents, out["exponent"]), bits)
            continue
        if kind == "concat":
            codes[op["output"]] = np.concatenate(
                [saturate(round_shift(x, out["exponent"] - e), bits) for x, e in zip(parts, exponents)], axis=3)
            continue
        if kind == "conv":
            sums = convolve(parts[0], weights[i], op, out["shape"])
        elif kind in ("max_pool", "average_pool"):
            sums = pool(parts[0], op, out["shape"])
        elif kind == "global_pool":
            sums = parts[0].astype(np.int64).sum(axis=(1, 2), keepdims=True)
        else:
            sums = parts[0].reshape(len(pixels), -1).astype(np.int64) @ weights[i].astype(np.int64).T
        y = fma(sums.astype(np.float32), tensors[op["scale"]], tensors[op["shift"]])
        if kind == "linear":
            return y
        codes[op["output"]] = saturate(np.rint(y), bits)
    sys.exit("the program has no classifier")


# --- faults --------------------------------------------------------------------------------------

def strike(code, kind, rows, bits):
    """The code after all rows of one element and term."""
    if kind == "ibf-weight":
        for row in rows:
            code ^= 1 << int(row["bit"])
        code &= (1 << bits) - 1
        return code - (1 << bits) if code >> bits - 1 else code
    if kind == "adsaf":
        top = (1 << bits - 1) - 1
        cells = [max(code, 0), max(-code, 0)]
        for row in rows:
            cells[int(row["bit"])] = top if row["value"] == "1" else 0
        return min(max(cells[0] - cells[1], -top - 1), top)
    sys.exit(f"fault list: {kind} is not a fault of weights that this program knows (ibf-weight, adsaf)")


def faulty_weights(program, tensors, rows, trial):
    """Weight codes by op index, struck by the trial's rows. Checks each row's old and new code."""
    sites = {op["weight_site"]: i for i, op in enumerate(program["ops"]) if "weight" in op}
    weights = {i: tensors[program["ops"][i]["weight"]].copy() for i in sites.values()}
    groups = {}
    for row in rows:
        if int(row["trial"]) == trial:
            key = (int(row["site"]), int(row["element"]), int(row["term"]))
            groups.setdefault(key, []).append(row)
    for (site, element, _), group in groups.items():
        if site not in sites:
            sys.exit(f"fault list: site {site} is not a weight tensor; only weight faults are replayed here")
        flat = weights[sites[site]].reshape(-1)
        before, after = int(flat[element]), strike(int(flat[element]), group[0]["kind"], group, program["bits"])
        if (before, after) != (int(group[0]["old"]), int(group[-1]["new"])):
            sys.exit(f"site {site}, element {element}: {before} -> {after} here, the list says "
                     f"{group[0]['old']} -> {group[-1]['new']}")
        flat[element] = after
    return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="file of `ftt-cuda export`")
    parser.add_argument("images", help="CIFAR-10 records: test_batch.bin, or a file of `ftt-cuda data dump`")
    parser.add_argument("--limit", type=int, default=0, help="first images only; 0: all")
    parser.add_argument("--batch", type=int, default=100, help="images at a time (default 100)")
    parser.add_argument("--fault-list", help="CSV of `ftt-cuda eval --fault-list`")
    parser.add_argument("--trials", type=int, default=0, help="trials 0..N-1 of the fault list")
    parser.add_argument("--out", help="write trial,image,label,predicted here; trial -1 is fault-free")
    parser.add_argument("--compare", help="such a file of `ftt-cuda eval --predictions`; exit code 1 if it differs")
    o = parser.parse_args()

    program, tensors = read_network(o.network)
    labels, pixels = read_images(o.images, program["values"][0]["shape"], o.limit)
    faults = read_faults(o.fault_list) if o.fault_list else []
    text = "trial,image,label,predicted\n"
    for trial in range(-1, o.trials):
        weights = faulty_weights(program, tensors, faults, trial)
        correct = 0
        for first in range(0, len(pixels), o.batch):
            logits = run(program, tensors, weights, pixels[first:first + o.batch])
            for i, predicted in enumerate(logits.argmax(axis=1), first):
                text += f"{trial},{i},{labels[i]},{predicted}\n"
                correct += int(predicted == labels[i])
        print(f"trial {trial:2}: {100 * correct / len(pixels):.2f} % of {len(pixels)} images")
    if o.out:
        open(o.out, "w").write(text)
    if o.compare:
        mine, other = text.splitlines(), open(o.compare).read().splitlines()
        differ = [(a, b) for a, b in zip(mine, other) if a != b]
        if differ or len(mine) != len(other):
            sys.exit(f"{o.compare}: {len(other) - 1} rows against {len(mine) - 1} here, {len(differ)} differ; "
                     f"the first: {differ[:1]}")
        print(f"{len(mine) - 1} predictions agree with {o.compare}")


if __name__ == "__main__":
    main()
