#!/usr/bin/env python3
"""Compares a run over RPC workers on loopback with a local run: tokens, cost of a step, and the effect of a lost worker.

    scripts/rpc-check.py MODEL.gguf [tokens] [cost] [kills] [--kills 20] [--delay-ms 1] [--seed 1]

tokens  greedy answers of a local run and of a run with layers on two workers
cost    `ab`, interleaved: local against one worker, directly and behind a relay that delays every packet by --delay-ms
kills   repeated runs whose worker is killed at a random moment of loading or measuring; each must end by itself, and must
        name the worker that it lost
Without a name all three run. GGUFBENCH names the program [default: target/release/ggufbench]. The exit code is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRAM = os.environ.get("GGUFBENCH", "target/release/ggufbench")
# Longer than the deadline of any answer in these runs.
HANG_S = 180


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """`rpc-worker` with one thread, listening."""

    def __init__(self) -> None:
        self.endpoint = f"127.0.0.1:{free_port()}"
        command = [PROGRAM, "rpc-worker", "--listen", self.endpoint, "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline().startswith("listening on "):
            sys.exit(f"rpc-check: no worker at {self.endpoint}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def relay(endpoint: str, delay_s: float) -> str:
    """The address of a relay to the endpoint that delays every packet by `delay_s` in both directions."""
    port = free_port()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue = asyncio.Queue()

        async def read() -> None:
            while data := await reader.read(1 << 20):
                queue.put_nowait((time.monotonic() + delay_s, data))
            queue.put_nowait((0.0, b""))

        task = asyncio.create_task(read())
        while True:
            due, data = await queue.get()
            if not data:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(data)
            await writer.drain()
        await task
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, their_port = endpoint.split(":")
        theirs = await asyncio.open_connection(host, int(their_port))
        for s in (writer, theirs[1]):
            s.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(reader, theirs[1]), pump(theirs[0], writer), return_exceptions=True)

    async def serve(ready: threading.Event) -> None:
        server = await asyncio.start_server(connect, "127.0.0.1", port)
        ready.set()
        await server.serve_forever()

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(serve(ready)), daemon=True).start()
    ready.wait()
    return f"127.0.0.1:{port}"


def program(*args: str, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *args, "--out", str(out)], capture_output=True, text=True, timeout=HANG_S * 4)


def record(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("*/run.jsonl")) for line in path.open() if line.endswith("\n")]


def tokens(model: str, folder: Path) -> bool:
    one, two = Worker(), Worker()
    sides = {"local": [], "rpc": ["--rpc", f"{one.endpoint},{two.endpoint}", "--tensor-split", "1,1"]}
    texts = {}
    for name, flags in sides.items():
        args = ["requests", "--model", model, "--n-requests", "8", "--n-gen", "48", "--temperature", "0", "--rounds", "1"]
        done = program(*args, "--class", "short", "--kv", "fit", "--threads", "1", "--no-report", *flags, out=folder / name)
        lines = record(folder / name)
        texts[name] = {d["timeline"]["number"]: d["timeline"]["text"] for d in lines if d["kind"] == "request"}
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
    one.kill(), two.kill()
    same = sum(texts["rpc"].get(k) == text for k, text in texts["local"].items())
    print(f"tokens: {same} of {len(texts['local'])} greedy answers of 48 tokens are equal to the last character")
    return 0 < same == len(texts["local"]) == len(texts["rpc"])


def cost(model: str, folder: Path, delay_ms: float) -> bool:
    worker = Worker()
    whole = True
    for name, endpoint in (("loopback", worker.endpoint), ("delayed", relay(worker.endpoint, delay_ms / 1000))):
        args = ["ab", "--model", model, "--batch", "1,8", "--n-prompt", "16", "--n-gen", "24", "--kv", "fit", "--threads", "1"]
        args += ["--replicates", "6", "--repetitions", "1", "--no-report", "--out", str(folder / name)]
        done = subprocess.run([PROGRAM, *args, "--", "--rpc", "none", "--", "--rpc", endpoint], capture_output=True, text=True)
        print(f"\n{name}{f', {delay_ms:g} ms each way' if name == 'delayed' else ''}: local (A) against one worker (B)")
        print(done.stdout, done.stderr if done.returncode else "", sep="")
        whole = whole and done.returncode == 0
    worker.kill()
    return whole


def kills(model: str, folder: Path, n: int, seed: int) -> bool:
    chance = random.Random(seed)
    endings: collections.Counter = collections.Counter()
    bad, longest = [], 0.0
    for number in range(n):
        worker = Worker()
        out = folder / f"kill{number}"
        args = ["-m", model, "-p", "32", "-n", "64", "--batch", "1,4", "-t", "1", "--kv", "fit", "--replicates", "1", "-r", "1000"]
        args += ["--rpc", worker.endpoint, "--timeout", "60s", "--no-report", "--out", str(out)]
        run = subprocess.Popen([PROGRAM, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # Counts from the record's first line: loading, warm-up and measuring.
        while run.poll() is None and not record(out):
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 4.0))
        worker.kill()
        killed = time.monotonic()
        try:
            said = run.communicate(timeout=HANG_S)[1]
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            bad.append(f"{number}: did not end within {HANG_S} s")
            continue
        longest = max(longest, time.monotonic() - killed)
        cells = [d for d in record(out) if d["kind"] == "cell"] if out.exists() else []
        first = next((c["outcome"] for c in cells if c["outcome"]["status"] != "measured"), None)
        words = (first.get("how") or first.get("reason") or "") if first else said.strip().splitlines()[-1]
        ending = f"exit {run.returncode}, {first['status'] if first else 'refused'}: {words}".replace(worker.endpoint, "HOST:PORT")
        endings[ending] += 1
        if run.returncode not in (1, 2) or worker.endpoint not in words:
            bad.append(f"{number}: {ending}")
    for ending, count in endings.most_common():
        print(f"{count:3} x {ending}")
    print(f"kills: {n - len(bad)} of {n} ended with an outcome that names the worker, the slowest {longest:.1f} s after it was killed")
    for line in bad:
        print("failed:", line)
    return not bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("what", nargs="*", default=[])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--delay-ms", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    steps = args.what or ["tokens", "cost", "kills"]
    whole = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step in steps:
            whole &= {
                "tokens": lambda: tokens(args.model, folder),
                "cost": lambda: cost(args.model, folder, args.delay_ms),
                "kills": lambda: kills(args.model, folder, args.kills, args.seed),
            }[step]()
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
