#!/usr/bin/env python3
"""Tries ggufbench.exe under Wine as people use it: scripts/test-windows.sh calls this program.

    checks.py FOLDER [--linux PROGRAM] [--model FILE] [--only WORD]

FOLDER is a folder of the Wine prefix's drive C that has the unpacked zip in `program` and `processes.exe`. PROGRAM is a build for Linux,
FILE a real model: with both, the outputs and the speed of the two builds are compared. Prints a line a check and counts.
"""

import argparse
import fcntl
import json
import os
import pty
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CHECKS = []


def check(title):
    def register(function):
        CHECKS.append((title, function))
        return function

    return register


class Skip(Exception):
    pass


@dataclass
class Result:
    code: int
    out: str
    err: str

    def must(self, code=0):
        assert self.code == code, f"exit code {self.code}, expected {code}: {(self.err or self.out)[-600:]!r}"
        assert "panicked" not in self.err + self.out, self.err[-600:]
        return self


class Bench:
    """The program, a folder on drive C whose name has a space and letters of two alphabets, and a tiny model in it."""

    def __init__(self, folder, linux, model):
        self.root = folder
        self.exe = folder / "program" / "ggufbench.exe"
        self.linux = linux
        self.real = model
        self.place = folder / "Messungen größer テスト"
        self.tiny = self.place / "models" / "tiny f16.gguf"
        shutil.rmtree(self.place, ignore_errors=True)
        self.tiny.parent.mkdir(parents=True)
        self.environment = {**os.environ, "GGUFBENCH_MODELS": self.win(self.place / "models"), "NO_COLOR": "1"}

    def win(self, path):
        """A path as Windows has it."""
        path = os.path.abspath(path)
        drive = str(self.root).split("/drive_c/")[0] + "/drive_c/"
        return "C:\\" + path[len(drive):].replace("/", "\\") if path.startswith(drive) else "Z:" + path.replace("/", "\\")

    def command(self, *args):
        return ["wine", str(self.exe), *map(str, args)]

    def run(self, *args, cwd=None, env=None, timeout=600):
        done = subprocess.run(self.command(*args), cwd=cwd or self.place, env={**self.environment, **(env or {})}, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=timeout)
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *args):
        return subprocess.Popen(self.command(*args), cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=open(self.place / "stderr", "wb"))

    def said(self):
        return (self.place / "stderr").read_text(errors="replace")[-600:]

    def processes(self, *args):
        done = subprocess.run(["wine", str(self.root / "processes.exe"), *args], capture_output=True, env=self.environment)
        return int(done.stdout)

    def of_name(self, verb, *args):
        return self.processes(verb, "ggufbench.exe", *args)

    def make_tiny(self):
        if not self.tiny.exists():
            self.run("model", "synth", "tiny", "f16", "--output", self.win(self.tiny)).must()
        return self.win(self.tiny)

    def out(self, name):
        """A folder for runs, and what Windows calls it."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder, self.win(folder)

    def measure(self, name, *args, code=0):
        folder, out = self.out(name)
        result = self.run("--model", self.make_tiny(), "-p", "32", "-n", "16", "-t", "1", "--kv", "fit", "--out", out, *args).must(code)
        return the_run(folder), result


def runs(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.exists() else []


def the_run(folder):
    found = runs(folder)
    assert len(found) == 1, f"one run, not {found}"
    return found[0]


def lines(run):
    record = run / "run.jsonl"
    if not record.exists():
        return []
    text = record.read_bytes()
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def of_kind(run, kind):
    return [line for line in lines(run) if line["kind"] == kind]


def repetitions(run):
    return [(l["case_id"], l["replicate"], l["repetition"]) for l in of_kind(run, "repetition")]


@check("--version names the target, --help the verbs")
def version(b):
    text = b.run("--version").must().out
    assert "x86_64-pc-windows-gnu" in b.run("--version", "--verbose").out + text or "ggufbench" in text, text
    for args in (["-h"], ["--help"], ["requests", "--help"], ["gate", "-h"]):
        assert "ggufbench" in b.run(*args).must().out


@check("a wrong flag, a model that is not there and a folder as a file end with code 2 and one line")
def bad_usage(b):
    for args in (["--no-such-flag"], ["--model", "C:\\none\\no.gguf"], ["--model", "D:none.gguf"], ["report", "C:\\none"]):
        result = b.run(*args).must(2)
        assert result.err.startswith("error: "), result.err[:300]


@check("doctor says what it can, and n/a is not 0")
def doctor(b):
    result = b.run("doctor", timeout=300)
    assert result.code in (0, 1), result.err
    assert "panicked" not in result.err and len(result.out.splitlines()) > 5, result.out


@check("model synth, info and quantize take spaces, backslashes, drive letters and letters of other alphabets")
def model_verbs(b):
    tiny = b.make_tiny()
    facts = json.loads(b.run("model", "info", tiny, "--json").must().out)
    assert facts, facts
    target = b.place / "models" / "größe q8 テ.gguf"
    b.run("model", "quantize", tiny, "q8_0", b.win(target)).must()
    assert 0 < target.stat().st_size < b.tiny.stat().st_size
    relative = b.run("model", "info", "models\\" + target.name).must()
    assert "q8_0" in relative.out.lower(), relative.out


@check("--model FILE --batch 1,8 measures, and the record knows machine and process")
def batch(b):
    run, result = b.measure("first", "--batch", "1,8", "--repetitions", "2", "--replicates", "2")
    cells = of_kind(run, "cell")
    assert len(cells) == 4 and all("measured" in json.dumps(c) for c in cells), cells
    machine = lines(run)[0]["machine"]
    cpu = machine["cpu"]
    assert cpu["model"] and cpu["vendor"] and cpu["logical_cores"] == os.cpu_count(), cpu
    for key in ("physical_cores", "available_cores", "sockets", "numa_nodes"):
        assert cpu[key], f"{key}: {cpu[key]}"
    assert cpu["caches"] and cpu["features"]["sse3"], cpu
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert abs(machine["memory"]["total_bytes"] / total - 1) < 0.02, machine["memory"]
    assert 0 not in (cpu["base_hz"], cpu["max_hz"], cpu["current_hz"]), cpu
    usage = [r["usage"] for r in of_kind(run, "repetition")]
    assert all(u["process_cpu_ns"] is not None and u["rss_bytes"] > 1 << 20 for u in usage), usage[0]
    assert "tiny" in result.out


@check("files that a pattern and a folder mean")
def patterns(b):
    b.make_tiny()
    for named in (b.win(b.tiny.parent) + "\\*f16.gguf", b.win(b.tiny.parent), "models\\*f16.gguf", "models/"):
        result = b.run("--model", named, "--batch", "1", "--dry-run").must()
        assert "tiny" in result.out + result.err, result.out


@check("sweeps: the list, a dry run, a real one; a sweep file of one's own")
def sweep(b):
    assert "quick" in b.run("sweep", "--list").must().out
    b.run("sweep", "quick", "--model", b.make_tiny(), "--dry-run").must()
    folder, out = b.out("sweep")
    b.run("sweep", b.win(b.exe.parent / "sweeps" / "quick.toml"), "--model", b.make_tiny(), "--batch", "1,2", "-n", "8", "--budget", "20s",
          "--out", out).must()
    for name in ("report.html", "report.md", "cells.csv"):
        assert (the_run(folder) / name).stat().st_size > 200, name


@check("report prints the table again, as HTML, CSV and JSON too")
def report(b):
    run, _ = b.measure("report", "--batch", "1,2", "--repetitions", "2", "--replicates", "1")
    run = b.win(run)
    assert "tiny" in b.run("report", run).must().out
    b.run("report", run, "--csv", b.win(b.place / "zellen ü.csv")).must()
    assert "tiny" in (b.place / "zellen ü.csv").read_text()
    assert json.loads(b.run("report", run, "-o", "json").must().out)
    b.run("report", run, "--csv", "NUL").must()


@check("requests: every answer is whole")
def requests(b):
    folder, out = b.out("requests")
    b.run("requests", "--model", b.make_tiny(), "--batch", "1,4", "-n", "16", "--n-requests", "8", "--class", "short", "--replicates", "1",
          "-t", "1", "--out", out).must()
    answered = of_kind(the_run(folder), "request")
    assert answered and all(a["timeline"]["n_generated"] == 16 for a in answered), answered[:1]


@check("compare and gate judge two runs")
def compare(b):
    made = [b.measure(f"side {n}", "--batch", "1,2", "--repetitions", "3", "--replicates", "2")[0] for n in (1, 2)]
    sides = [b.win(run) for run in made]
    assert "tiny" in b.run("compare", *sides).must().out
    gate = b.run("gate", sides[1], "--baseline", sides[0])
    assert gate.code in (0, 1, 3), gate.err


@check("Ctrl-C keeps what was measured, with code 130, and --resume completes it")
def ctrl_c(b):
    folder, out = b.out("ctrl-c")
    args = ["--model", b.make_tiny(), "--batch", "1,2,4,8", "-p", "64", "-n", "64", "-t", "1", "--replicates", "2", "--repetitions", "3",
            "--kv", "fit", "--no-report", "--out", out]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(b.place)
        os.execvpe("wine", b.command(*args), b.environment)
    fcntl.fcntl(terminal, fcntl.F_SETFL, os.O_NONBLOCK)
    shown, is_sent, began, status = b"", False, time.monotonic(), None
    while status is None and time.monotonic() - began < 240:
        try:
            shown += os.read(terminal, 1 << 16)
        except OSError:
            pass
        found = runs(folder)
        if not is_sent and found and len(lines(found[0])) >= 3:
            os.write(terminal, b"\x03")
            is_sent = True
        ended, raw = os.waitpid(pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(raw) if ended else None
        time.sleep(0.02)
    if status is None:
        os.kill(pid, signal.SIGKILL)
    assert is_sent, f"nothing was measured: {shown[-400:]!r}"
    assert status == 130, f"exit code {status}: {shown[-400:]!r}"
    run = the_run(folder)
    end = lines(run)[-1]
    assert end["kind"] == "end" and end["interrupted"], end
    kept = repetitions(run)
    b.run("--resume", b.win(run), "--no-report").must()
    done = repetitions(run)
    assert kept and done[: len(kept)] == kept and len(set(done)) == len(done) == 24, len(done)


def start_long(b, out):
    return b.start("--model", b.make_tiny(), "--batch", "1,2,4,8", "-p", "64", "-n", "48", "--replicates", "2", "--repetitions", "3", "-t",
                   "1", "--kv", "fit", "--no-report", "--out", out)


@check("a supervisor killed ten times loses and repeats nothing, and no worker outlives it")
def kill_supervisor(b):
    folder, out = b.out("killed")
    chance, kills, finished = random.Random(7), 0, []
    child = start_long(b, out)
    while kills < 10:
        try:
            child.wait(chance.uniform(0.5, 4))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
            until = time.monotonic() + 10
            while (left := b.of_name("count")) and time.monotonic() < until:
                time.sleep(0.1)
            assert left == 0, f"{left} processes outlive the supervisor"
        found = [run for run in runs(folder) if lines(run)]
        if not found:
            shutil.rmtree(folder, ignore_errors=True)
            child = start_long(b, out)
            continue
        now = repetitions(found[0])
        assert now[: len(finished)] == finished, "a finished repetition was lost"
        finished = now
        if len(now) == 24:
            shutil.rmtree(folder)
            finished = []
            child = start_long(b, out)
        else:
            child = b.start("--resume", b.win(found[0]), "--no-report")
    assert child.wait(300) == 0, b.said()
    done = repetitions(the_run(folder))
    assert len(set(done)) == len(done) == 24, len(done)


@check("a worker killed twenty times costs its cell and nothing else, and its end is named")
def kill_worker(b):
    chance, kills, names = random.Random(8), 0, set()
    ends = {"0xC0000005": "access violation (0xC0000005)", "0xC0000409": "abort (0xC0000409)", "1": "exit code 1", "3": "abort (exit code 3)"}
    while kills < 20:
        folder, out = b.out("workers")
        child, here = start_long(b, out), 0
        while child.poll() is None:
            time.sleep(chance.uniform(0.3, 2.5))
            if kills < 20 and (ended := b.of_name("end", chance.choice(list(ends)))):
                kills, here = kills + ended, here + ended
        found = runs(folder)
        if not found:
            assert child.returncode == 2, b.said()
            continue
        cells = of_kind(found[0], "cell")
        crashed = [c for c in cells if "crashed" in json.dumps(c["outcome"])]
        for cell in crashed:
            text = json.dumps(cell["outcome"])
            known = [name for name in ends.values() if name in text]
            assert known, text
            names.update(known)
        assert len(cells) == 8 and len(crashed) <= here, (len(cells), len(crashed), here)
        assert child.returncode == (1 if crashed else 0), b.said()
    assert names, "no kill met a cell at work"


@check("hostile files are refused by name, with code 2")
def hostile_files(b):
    b.make_tiny()
    whole = b.tiny.read_bytes()
    chance = random.Random(9)
    files = {"empty": b"", "text": b"hello", "magic": b"GGUF", "cut": whole[: len(whole) // 3], "noise": chance.randbytes(4096),
             "version": b"GGUF" + (99).to_bytes(4, "little") + whole[8:], "counts": whole[:8] + b"\xff" * 16 + whole[24:],
             "half": whole[:64] + chance.randbytes(2048)}
    for name, data in files.items():
        path = b.place / "hostile" / f"{name}.gguf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        for args in (["model", "info", b.win(path)], ["--model", b.win(path), "--batch", "1", "-n", "4"]):
            result = b.run(*args).must(2)
            assert f"{name}.gguf" in result.err, result.err[-300:]


@check("hostile names: what cmd and PowerShell read, a dash, devices, the longest")
def hostile_names(b):
    b.make_tiny()
    for number, name in enumerate(("a&b (1) %PATH% 'x'^.gguf", "-dash.gguf", "x,y;z=1.gguf", "[1]{2}#.gguf", "日本語 🦙.gguf", "é" * 120 + ".gguf", " .gguf")):
        path = b.place / "names" / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(b.tiny, path)
        b.run("model", "info", b.win(path)).must()
        folder, out = b.out(f"out & {number} (%PATH%)")
        b.run("--model", b.win(path), "--batch", "1", "-p", "8", "-n", "4", "-t", "1", "--repetitions", "1", "--replicates", "1", "--kv", "fit",
              "--out", out).must()
        assert len(repetitions(the_run(folder))) == 1, name
    for name in ("CON", "NUL", "C:", "\\\\?\\", "\\\\none\\share\\x.gguf", "con.gguf"):
        assert b.run("model", "info", name, timeout=120).code == 2, name


@check("a path of more than 260 characters")
def long_path(b):
    deep = b.place / ("a" * 120) / ("b" * 120)
    deep.mkdir(parents=True, exist_ok=True)
    out = b.win(deep / "out")
    b.run("--model", b.make_tiny(), "--batch", "1", "-p", "8", "-n", "4", "-t", "1", "--repetitions", "1", "--replicates", "1", "--kv", "fit", "--out",
          out).must()
    assert len(out) > 260 and len(repetitions(the_run(deep / "out"))) == 1


@check("a full disk is an error that names the file, not a crash")
def full_disk(b):
    small = b.place / "small disk"
    small.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True).returncode:
        raise Skip("mounting a small disk is not permitted here")
    try:
        result = b.run("--model", b.make_tiny(), "--batch", "1,2,4,8", "-p", "64", "-n", "64", "-t", "1", "--repetitions", "8", "--kv", "fit", "--no-report",
                       "--out", b.win(small / "out"))
        assert result.code in (1, 2) and "panicked" not in result.err and "small disk" in result.err, (result.code, result.err[-400:])
        copied = b.run("model", "quantize", b.make_tiny(), "q8_0", b.win(small / "q.gguf")).must(2)
        assert "q.gguf" in copied.err, copied.err
    finally:
        subprocess.run(["umount", str(small)], check=True)


@check("Ollama's models in OLLAMA_MODELS and below %USERPROFILE%")
def ollama(b):
    b.make_tiny()
    data = b.tiny.read_bytes()
    import hashlib
    digest = hashlib.sha256(data).hexdigest()
    for store, environment in ((b.place / "ollama store", "OLLAMA_MODELS"), (b.place / "home" / ".ollama" / "models", "USERPROFILE")):
        manifest = store / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)}
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))
        (store / "blobs").mkdir(exist_ok=True)
        (store / "blobs" / f"sha256-{digest}").write_bytes(data)
        value = b.win(store if environment == "OLLAMA_MODELS" else b.place / "home")
        named = b.run("model", "info", "ollama:tiny", env={environment: value})
        if environment == "USERPROFILE" and named.code:
            raise Skip("Wine sets USERPROFILE itself") if "USERPROFILE" not in named.err and "root" in named.err else AssertionError(named.err)
        named.must()


@check("the engine's RPC backend: a worker serves, a run computes on it")
def rpc(b):
    address = f"127.0.0.1:{random.randint(20000, 40000)}"
    worker = subprocess.Popen(b.command("rpc-worker", "--listen", address, "--threads", "1"), cwd=b.place, env=b.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        # The engine's own lines come through another buffer, before or after.
        greeted = any(line.startswith(b"listening on " + address.encode()) for line in iter(worker.stdout.readline, b""))
        assert greeted, "the worker ended without its greeting"
        folder, out = b.out("rpc")
        b.run("--model", b.make_tiny(), "--rpc", address, "-ngl", "99", "--batch", "1", "-p", "8", "-n", "4", "-t", "1", "--repetitions", "1",
              "--replicates", "1", "--kv", "fit", "--out", out).must()
        assert len(repetitions(the_run(folder))) == 1
    finally:
        worker.kill()
        worker.wait()


def both(b, name, *args):
    """The same run of both builds: their record's folders."""
    if not (b.linux and b.real):
        raise Skip("needs --linux and --model")
    made = []
    for which in ("windows", "linux"):
        folder, out = b.out(f"{name} {which}")
        if which == "windows":
            b.run("--model", b.win(b.real), "--out", out, *args, timeout=1200).must()
        else:
            subprocess.run([b.linux, "--model", b.real, "--out", folder, *args], check=True, capture_output=True, timeout=1200)
        made.append(the_run(folder))
    return made


@check("outputs of a real model are those of the build for Linux, but for rounding")
def outputs(b):
    made = both(b, "outputs", "--batch", "1,4", "-p", "32", "-n", "32", "-t", "2", "--repetitions", "1", "--replicates", "1", "--check-output", "--no-report")
    windows, linux = [[answer for line in lines(run) for answer in find(line, "greedy") or []] for run in made]
    same = sum(one == other for one, other in zip(windows, linux))
    print(f"     {same} of {len(linux)} greedy answers are equal to the last token")
    # Another compiler rounds differently, which can turn a token where two are almost equally likely. Distributions are judged.
    judged = subprocess.run([b.linux, "compare", "--check-output", *map(str, made)], capture_output=True, text=True)
    assert windows and len(windows) == len(linux) and same and judged.returncode == 0, judged.stdout[-900:] + judged.stderr


def find(value, key):
    if isinstance(value, dict):
        return value[key] if key in value else next((f for v in value.values() if (f := find(v, key)) is not None), None)
    if isinstance(value, list):
        return next((f for v in value if (f := find(v, key)) is not None), None)
    return None


@check("decode of a real model against the build for Linux, in pairs")
def speed(b):
    ratios = []
    for pair in range(5):
        made = both(b, f"speed {pair}", "--batch", "1", "-p", "16", "-n", "48", "-t", "1", "--repetitions", "2", "--replicates", "1", "--no-report")
        steps = [statistics.median(sum(c[k] for k in ("build_ns", "submit_ns", "wait_ns", "sample_ns")) for r in of_kind(run, "repetition")
                                   for c in r["calls"] if c["phase"] == "decode") for run in made]
        ratios.append(steps[0] / steps[1])
    ratios.sort()
    print(f"     a step under Wine takes {ratios[2]:.3f} of a step on Linux (five pairs: {ratios[0]:.3f} to {ratios[-1]:.3f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--linux", type=os.path.abspath)
    parser.add_argument("--model", type=os.path.abspath)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    bench = Bench(args.folder.resolve(), args.linux, args.model)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for title, function in CHECKS:
        if args.only not in title and args.only != function.__name__:
            continue
        began = time.monotonic()
        try:
            function(bench)
            verdict, why = "passed", ""
        except Skip as reason:
            verdict, why = "skipped", f": {reason}"
        except Exception as error:  # a check that fails must not keep the others from running
            verdict, why = "failed", f": {type(error).__name__}: {str(error)[:900]}"
        counts[verdict] += 1
        print(f"{verdict:8}{title} ({time.monotonic() - began:.0f} s){why}", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
