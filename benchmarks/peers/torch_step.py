#!/usr/bin/env python3
"""A training step of ResNet-20 with faults, as fault-tolerance papers do it in PyTorch, timed.

Two passes over a batch, clean and faulty, one backward pass, SGD. Weights and feature maps are quantized to 8 bits with a
power-of-two scale and a straight-through gradient; bit biases (mibb) strike each convolution's output with probability
rate * multiply-adds. Everything is written the usual way: plain tensor operations, the exponent read back by the host for
every feature map, one random number per element.

Usage: torch_step.py [--device cuda|cpu] [--batch N] [--rate R] [--steps N] [--program ftt-cuda] [--json FILE]
With --program the same step of ftt-cuda is timed in the same run and the ratio printed.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit("torch_step.py: PyTorch is not installed for this python3")

BITS = 8


class RoundThrough(torch.autograd.Function):
    """Codes of x at a scale; the gradient passes where nothing saturated."""

    @staticmethod
    def forward(ctx, x, scale):
        low, high = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1
        code = torch.round(x / scale)
        ctx.save_for_backward((code >= low) & (code <= high))
        return code.clamp(low, high) * scale

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        return grad * inside, None


def scale_of(x):
    largest = max(x.detach().abs().max().item(), 1e-5)  # the host waits here, once per tensor
    return 2.0 ** (math.ceil(math.log2(largest)) - (BITS - 1))


def inject(x, scale, probability):
    """Bit biases: +-2^bit of a code, bit uniform, clamped to the range of codes."""
    hit = torch.rand_like(x) < probability
    bit = torch.randint_like(x, BITS)
    sign = torch.randint_like(x, 2) * 2 - 1
    struck = x + hit * sign * torch.pow(2.0, bit) * scale
    low, high = -(2 ** (BITS - 1)) * scale, (2 ** (BITS - 1) - 1) * scale
    return x + (struck.clamp(low, high) - x).detach()


class Conv(nn.Module):
    def __init__(self, in_channels, out_channels, kernel, stride, rate):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.probability = min(1.0, rate * in_channels * kernel * kernel)

    def forward(self, x, faulty):
        w = self.conv.weight
        w = RoundThrough.apply(w, scale_of(w))
        y = self.norm(F.conv2d(x, w, None, self.conv.stride, self.conv.padding))
        scale = scale_of(y)
        y = RoundThrough.apply(y, scale)
        return inject(y, scale, self.probability) if faulty else y


class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride, rate):
        super().__init__()
        self.first = Conv(in_channels, out_channels, 3, stride, rate)
        self.second = Conv(out_channels, out_channels, 3, 1, rate)
        self.short = Conv(in_channels, out_channels, 1, stride, rate) if stride != 1 else None

    def forward(self, x, faulty):
        y = self.second(F.relu(self.first(x, faulty)), faulty)
        y = y + (x if self.short is None else self.short(x, faulty))
        return F.relu(RoundThrough.apply(y, scale_of(y)))


class ResNet20(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.stem = Conv(3, 16, 3, 1, rate)
        blocks, channels = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(3):
                blocks.append(Block(channels, width, stride if i == 0 else 1, rate))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x, faulty):
        x = F.relu(self.stem(x, faulty))
        for block in self.blocks:
            x = block(x, faulty)
        return self.classifier(x.mean((2, 3)))


def time_steps(device, batch, rate, steps):
    torch.manual_seed(1)
    model = ResNet20(rate).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4)
    x = torch.randn(batch, 3, 32, 32, device=device)
    labels = torch.randint(10, (batch,), device=device)

    def step():
        optimizer.zero_grad()
        loss = 0.5 * F.cross_entropy(model(x, False), labels) + 0.5 * F.cross_entropy(model(x, True), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4, help="per multiply-add")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="of the host; 0: all")
    parser.add_argument("--program", default="", help="ftt-cuda, timed beside")
    parser.add_argument("--json", default="", help="write the figures to this file")
    o = parser.parse_args()
    if o.threads > 0:
        torch.set_num_threads(o.threads)
    name = torch.cuda.get_device_name() if o.device == "cuda" else f"{torch.get_num_threads()} threads"
    row = {"torch": torch.__version__, "device": f"{o.device}, {name}", "batch": o.batch, "rate": o.rate}
    row["torch_ms"] = time_steps(o.device, o.batch, o.rate, o.steps)
    print(f"PyTorch {torch.__version__} on {row['device']}: {row['torch_ms']:.2f} ms per step of 2 x {o.batch} images")
    if o.program:
        command = [o.program, "bench", "--network", "resnet-20", "--batch", str(o.batch), "--fault", f"mibb:{o.rate:g}",
                   "--backend", o.device, "--threads", str(o.threads), "--json"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            sys.exit(f"torch_step.py: {' '.join(command)}: {result.stderr.strip()}")
        step = next(r for r in json.loads(result.stdout) if r["what"] == "training step")
        row["ftt_cuda_ms"] = step["faulty_ms"]
        row["ratio"] = row["torch_ms"] / row["ftt_cuda_ms"]
        print(f"ftt-cuda ({os.path.basename(o.program)}): {row['ftt_cuda_ms']:.2f} ms; ratio {row['ratio']:.1f}")
    if o.json:
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(row, file, indent=2)


if __name__ == "__main__":
    main()
