#!/usr/bin/env python3
"""Runs `predict` and `ceiling` on random changes of a header. Rules: no abort, at most 2 GiB, at most one minute.

    scripts/mutated-headers.py target/release/ggufbench [--runs 1000] [--seed 1]

Each run has a copy of a small synthetic model with one to three changed values in its header. Kernels that are known from
earlier runs are not timed again. The script prints a line for each kind of ending, and every run that broke a rule. The exit
code is 1 if a run broke a rule.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEYS = [
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.key_length_swa",
    "attention.value_length_swa", "attention.key_length_mla", "expert_count", "expert_used_count",
    "attention.sliding_window", "rope.dimension_count", "full_attention_interval", "attention.shared_kv_layers",
]  # fmt: skip
ODD = [0, 1, 2, 3, 5, 7, 31, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 4096, 65535, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1]
MOST_BYTES, MOST_S = 2 << 30, 60


def changed(header: bytearray, chance: random.Random) -> tuple[bytes, list[str]]:
    """The file with 32-bit values changed in place, or added after the others."""
    n_values = struct.unpack_from("<Q", header, 16)[0]
    added, said = b"", []
    for key in chance.sample(KEYS, chance.randint(1, 3)):
        name = f"llama.{key}".encode()
        value = chance.choice(ODD) if chance.random() < 0.8 else chance.randrange(2**32)
        said.append(f"{key}={value}")
        entry = struct.pack("<Q", len(name)) + name + struct.pack("<I", 4)
        at = header.find(entry)
        if at >= 0:
            struct.pack_into("<I", header, at + len(entry), value)
        else:
            added += entry + struct.pack("<I", value)
            n_values += 1
    struct.pack_into("<Q", header, 16, n_values)
    return bytes(header[:24]) + added + bytes(header[24:]), said


def header_end(data: bytes) -> int:
    """The offset of the tensors' data: after the table, at the next multiple of 32."""
    at = 24

    def text() -> None:
        nonlocal at
        at += 8 + struct.unpack_from("<Q", data, at)[0]

    def value(kind: int) -> None:
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            element, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                value(element)
        else:
            at += {0: 1, 1: 1, 7: 1, 2: 2, 3: 2, 10: 8, 11: 8, 12: 8}.get(kind, 4)

    n_tensors, n_values = struct.unpack_from("<QQ", data, 8)
    for _ in range(n_values):
        text()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        value(kind)
    for _ in range(n_tensors):
        text()
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4 + 8
    return at


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    program = args.program.resolve()
    with tempfile.TemporaryDirectory() as folder:
        base, model = Path(folder, "base.gguf"), Path(folder, "m.gguf")
        subprocess.run([program, "model", "synth", "tiny", "q8_0", "--output", base], check=True, capture_output=True)
        data = base.read_bytes()
        end = header_end(data)
        tensors = data[-(-end // 32) * 32 :]
        endings: collections.Counter[str] = collections.Counter()
        broken, longest, largest = 0, 0.0, 0
        environment = os.environ | {"XDG_CACHE_HOME": str(Path(folder, "cache"))}
        for n in range(args.runs):
            header, said = changed(bytearray(data[:end]), chance)
            model.write_bytes(header + bytes(-len(header) % 32) + tensors)
            # Two of three runs are forecasts, because they are cheaper.
            command = [program, "ceiling", "--model", model] if n % 3 == 2 else [program, "predict", model, "--batch", "1,8"]
            begun = time.monotonic()
            try:
                run = subprocess.run([*command, "-t", "1"], capture_output=True, text=True, env=environment, timeout=4 * MOST_S)
                code, error = run.returncode, run.stderr.strip().splitlines()
            except subprocess.TimeoutExpired:
                code, error = -1, ["no end"]
            took = time.monotonic() - begun
            # The largest memory of all children so far, including their workers.
            held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            errors = [line for line in error if line.startswith("error: ")]
            wrong = code not in (0, 1, 2) or (code == 2 and len(errors) != 1) or took > MOST_S
            if wrong or (held > MOST_BYTES and held > largest):
                broken += 1
                print(f"run {n}: {command[1]} {' '.join(said)}: exit {code}, {took:.0f} s, {held >> 20} MiB: {error[-3:]}")
            longest, largest = max(longest, took), max(largest, held)
            endings[f"{command[1]} exit {code}"] += 1
        for ending, count in sorted(endings.items()):
            print(f"{ending}: {count}")
        print(f"{args.runs} runs: {broken} broke a rule; the longest took {longest:.1f} s, the largest {largest >> 20} MiB")
        return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
