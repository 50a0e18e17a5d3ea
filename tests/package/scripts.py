"""The scripts that make the wheel, the list of licenses and the archive. A shell script takes the place of the program, and
further ones that of cargo, objdump and ldd, so nothing is compiled.

    python3 tests/package/scripts.py [Wheel | Licenses | Libgomp | Package]
"""

import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = PROJECT / "scripts"
NAME = "ggufbench-1.2.3-x86_64-linux"
WHEEL = "ggufbench-1.2.3-py3-none-manylinux_2_17_x86_64.whl"

# Says who it is, what it was given and which signals it ignores; then ends as it is told to.
PROGRAM = """\
#!/bin/sh
[ "$1" != manual ] || { echo "$*" && exit 0; }
echo "process $$"
for argument in "$@"; do echo "argument $argument"; done
echo "stdin $(cat)"
echo "library $(cat "$(dirname "$0")/libllama.so.0")"
sed -n 's/^SigIgn:[[:space:]]*/ignored /p' /proc/$$/status
eval "$1"
"""


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.place = Path(holder.name).resolve()
        self.folder = self.place / NAME
        self.write(self.folder / "ggufbench", PROGRAM, executable=True)
        self.write(self.folder / "libllama.so.0", "of the engine")
        self.write(self.folder / "sweeps" / "quick.toml", "name = 'quick'")
        self.write(self.folder / "README.md", "# ggufbench: µs per step\n")
        self.write(self.folder / "LICENSE-MIT", "the license")

    def write(self, path, text, executable=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if executable else 0o644)

    def run_script(self, name, *arguments, **options):
        command = [str(SCRIPTS / name), *map(str, arguments)]
        if name.endswith(".py"):
            command.insert(0, sys.executable)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(command, encoding="utf-8", **streams, **options)

    def succeeds(self, name, *arguments, **options):
        done = self.run_script(name, *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def tools(self, **scripts):
        """The environment with these shell scripts first on the PATH."""
        for name, text in scripts.items():
            self.write(self.place / "tools" / name, f"#!/bin/sh\n{text}\n", executable=True)
        return {**os.environ, "PATH": f"{self.place / 'tools'}:{os.environ['PATH']}"}


class Wheel(Case):
    def made(self):
        self.succeeds("wheel.py", self.folder, self.place / "out", "--glibc", "2.17")
        return self.place / "out" / WHEEL

    def unpacked(self):
        """As pip unpacks it: with the modes."""
        site = self.place / "site-packages"
        with zipfile.ZipFile(self.made()) as wheel:
            wheel.extractall(site)
            for entry in wheel.infolist():
                if entry.external_attr:
                    (site / entry.filename).chmod(stat.S_IMODE(entry.external_attr >> 16))
        return site

    def started(self, site, *arguments):
        command = [sys.executable, "-c", "from ggufbench.__main__ import main; main()", *arguments]
        pipe = subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": str(site)}
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8", env=environment)
        output, _ = process.communicate("a prompt")
        return process, output.splitlines()

    def test_each_file_is_listed_with_its_digest(self):
        with zipfile.ZipFile(self.made()) as wheel:
            record = "ggufbench-1.2.3.dist-info/RECORD"
            rows = list(csv.reader(io.StringIO(wheel.read(record).decode())))
            self.assertEqual([row[0] for row in rows], wheel.namelist())
            for name, digest, size in rows:
                if name == record:
                    self.assertEqual((digest, size), ("", ""))
                    continue
                data = wheel.read(name)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                self.assertEqual((digest, size), (f"sha256={expected}", str(len(data))), name)

    def test_it_has_the_whole_folder_and_says_what_it_is(self):
        with zipfile.ZipFile(self.made()) as wheel:
            info = "ggufbench-1.2.3.dist-info"
            for name, file in [
                ("ggufbench/program/ggufbench", "ggufbench"),
                ("ggufbench/program/libllama.so.0", "libllama.so.0"),
                ("ggufbench/program/sweeps/quick.toml", "sweeps/quick.toml"),
                (f"{info}/licenses/LICENSE-MIT", "LICENSE-MIT"),
            ]:
                self.assertEqual(wheel.read(name), (self.folder / file).read_bytes())
            executable = [e.filename for e in wheel.infolist() if (e.external_attr >> 16) & 0o111]
            self.assertEqual(executable, ["ggufbench/program/ggufbench"])
            tag = "Root-Is-Purelib: false\nTag: py3-none-manylinux_2_17_x86_64\n"
            self.assertTrue(wheel.read(f"{info}/WHEEL").decode().endswith(tag))
            head, readme = wheel.read(f"{info}/METADATA").decode().split("\n\n", 1)
            self.assertIn("\nName: ggufbench\nVersion: 1.2.3\nSummary: Measures ", head)
            self.assertIn("\nLicense: MIT OR Apache-2.0\n", head)
            self.assertEqual(readme, "# ggufbench: µs per step\n")

    def test_the_command_becomes_the_program(self):
        site = self.unpacked()
        process, lines = self.started(site, "exit 7", "two words", "")
        self.assertEqual(process.returncode, 7)
        self.assertEqual(
            lines[:-1],
            [
                f"process {process.pid}",
                "argument exit 7",
                "argument two words",
                "argument ",
                "stdin a prompt",
                "library of the engine",
            ],
        )
        ignored = int(lines[-1].split()[1], 16)
        for signal in (13, 25):  # SIGPIPE, SIGXFSZ
            self.assertFalse(ignored & (1 << (signal - 1)), lines[-1])
        process, _ = self.started(site, "kill -TERM $$")
        self.assertEqual(process.returncode, -15)

    @unittest.skipUnless(importlib.util.find_spec("pip"), "this Python has no pip")
    @unittest.skipUnless((platform.machine(), platform.libc_ver()[0]) == ("x86_64", "glibc"), "pip would refuse the wheel here")
    def test_pip_installs_the_command(self):
        target = self.place / "installed"
        pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
        install = [*pip, "install", "--no-index", "--no-cache-dir", "--target", str(target), str(self.made())]
        output = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(output.returncode, 0, output.stdout)
        environment = {**os.environ, "PYTHONPATH": str(target)}
        command = [str(target / "bin" / "ggufbench"), "exit 3"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
        self.assertEqual(done.returncode, 3)
        self.assertIn("\nlibrary of the engine\n", done.stdout)

    def test_the_same_folder_gives_the_same_bytes(self):
        first = self.made().read_bytes()
        os.utime(self.folder / "ggufbench", (0, 0))
        self.assertEqual(self.made().read_bytes(), first)

    def test_what_cannot_be_packed_is_refused(self):
        def refused(message, folder=self.folder, glibc="2.17"):
            done = self.run_script("wheel.py", folder, self.place / "out", "--glibc", glibc)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(message, done.stderr)
            self.assertFalse((self.place / "out").exists())

        refused("the name is not ggufbench-VERSION-x86_64-linux", folder=self.place)
        refused("expected a version such as 2.34", glibc="musl")
        candidate = self.place / "ggufbench-1.2.3-rc.1-x86_64-linux"
        shutil.copytree(self.folder, candidate)
        refused("1.2.3-rc.1: pip writes versions with a suffix", folder=candidate)
        (self.folder / "link").symlink_to("ggufbench")
        refused("wheels cannot hold links")
        (self.folder / "link").unlink()
        (self.folder / "ggufbench").chmod(0o644)
        refused("ggufbench is not executable")


class Crates(Case):
    """A program with the crates that a test adds."""

    APACHE = "                Apache License\n        Version 2.0, January 2004\n"

    def setUp(self):
        super().setUp()
        self.packages, self.nodes = [], {}
        self.add("ggufbench", "MIT OR Apache-2.0", {})

    def add(self, name, license, files, used_by="ggufbench", kind=None, target="lib"):
        """`kind` is that of the dependency: None (linked), "build" or "dev"."""
        top = self.place / "crates" / name
        for file, text in {"Cargo.toml": "", **files}.items():
            self.write(top / file, text)
        package = {"id": name, "name": name, "version": "1.0.0", "license": license, "license_file": None}
        package.update(repository=f"https://example.org/{name}", manifest_path=str(top / "Cargo.toml"))
        package.update(targets=[{"kind": [target]}])
        self.packages.append(package)
        self.nodes[name] = {"id": name, "deps": []}
        if name != used_by:
            self.nodes[used_by]["deps"].append({"pkg": name, "dep_kinds": [{"kind": kind}]})

    def metadata(self):
        return json.dumps({"packages": self.packages, "resolve": {"root": "ggufbench", "nodes": list(self.nodes.values())}})


class Licenses(Crates):
    def listed(self):
        return self.succeeds("licenses.py", input=self.metadata()).stdout

    def test_what_is_linked_is_listed_and_each_text_is_printed_once(self):
        self.add("b", "MIT", {"LICENSE": "MIT of b, and\nof a\n"})
        self.add("a", "MIT", {"LICENSE.md": "MIT of b,\nand of a"}, used_by="b")
        self.add("engine", "MIT", {"vendor/COPYING": "of the engine", "LICENSE.rs": "fn license", "tests/LICENSE": "of a test"})
        self.add("macro", "MIT", {"LICENSE": "of a macro"}, target="proc-macro")
        self.add("below-macro", "MIT", {"LICENSE": "of a macro's crate"}, used_by="macro")
        self.add("builder", "MIT", {"LICENSE": "of a build script"}, kind="build")
        self.add("tester", "MIT", {"LICENSE": "of a test"}, kind="dev")
        text = self.listed()
        crates = [line for line in text.splitlines() if "https://example.org/" in line]
        self.assertEqual(
            crates,
            [
                "a 1.0.0, MIT, https://example.org/a: [1]",
                "b 1.0.0, MIT, https://example.org/b: [1]",
                "engine 1.0.0, MIT, https://example.org/engine: [2] (vendor/COPYING)",
            ],
        )
        self.assertEqual(text.count("MIT of b"), 1)
        self.assertIn("\n[2]\n\nof the engine\n", text)
        for absent in ("fn license", "of a test", "of a macro", "of a build script", str(self.place)):
            self.assertNotIn(absent, text)

    def test_a_crate_without_a_text_takes_that_of_another_if_it_has_one_wording(self):
        self.add("a", "Apache-2.0", {"LICENSE": self.APACHE})
        self.add("bare", "MIT OR Apache-2.0", {})
        self.assertIn("bare 1.0.0, MIT OR Apache-2.0, https://example.org/bare: [1]\n", self.listed())
        self.add("none", "MIT", {})
        done = self.run_script("licenses.py", input=self.metadata())
        self.assertEqual(done.returncode, 1)
        self.assertIn("none 1.0.0 (MIT): no text of its license is in its folder", done.stderr)
        self.assertEqual(done.stdout, "")


class Libgomp(Case):
    def bundled(self, ldd):
        self.write(self.folder / "libggml-base.so.0", "")
        self.write(self.place / "gpl", "the GPL\n")
        self.write(self.place / "exception", "the exception\n")
        environment = self.tools(ldd=f"echo '{ldd}'")
        environment["LIBGOMP_LICENSE"] = f"{self.place}/gpl {self.place}/exception"
        self.succeeds("bundle-libgomp.sh", self.folder, env=environment)

    def test_it_is_copied_with_its_license(self):
        self.write(self.place / "libgomp.so.1.0.0", "OpenMP")
        (self.place / "libgomp.so.1").symlink_to("libgomp.so.1.0.0")
        self.bundled(f"\tlibgomp.so.1 => {self.place}/libgomp.so.1 (0x1)")
        copy = self.folder / "libgomp.so.1"
        self.assertEqual((copy.read_text(), copy.is_symlink()), ("OpenMP", False))
        self.assertTrue((self.folder / "LICENSE-libgomp.txt").read_text().endswith("\nthe GPL\nthe exception\n"))

    def test_an_engine_without_it_needs_none(self):
        self.bundled("\tlibc.so.6 => /lib/libc.so.6 (0x1)")
        self.assertEqual(list(self.folder.glob("*libgomp*")), [])


class Package(Crates):
    def test_an_earlier_portable_folder_is_packed(self):
        self.add("a", "MIT", {"LICENSE": "of a"})
        self.write(self.place / "metadata.json", self.metadata())
        environment = self.tools(
            cargo=f'case $1 in --version) echo "cargo 99.0.0" ;; metadata) cat {self.place}/metadata.json ;; esac',
            rustc="echo rustc 99.0.0",
            objdump="echo 'puts GLIBC_2.2.5'; echo 'hypot GLIBC_2.17'; echo 'puts GLIBC_2.9'",
        )
        environment["CARGO_TARGET_DIR"] = str(self.place / "target")
        self.succeeds("package.sh", "--folder", self.folder, env=environment)
        dist = self.place / "target" / "dist"
        archive = f"{NAME}.tar.gz"
        self.assertEqual({path.name for path in dist.iterdir()}, {archive, WHEEL, "Containerfile", "SHA256SUMS"})
        with tarfile.open(dist / archive) as tar:
            self.assertTrue(tar.getmember(f"{NAME}/ggufbench").mode & 0o100)
            self.assertEqual(tar.extractfile(f"{NAME}/completions/ggufbench.zsh").read(), b"manual completions zsh\n")
            self.assertIn(b"a 1.0.0, MIT, ", tar.extractfile(f"{NAME}/LICENSES-LINKED.txt").read())
        with zipfile.ZipFile(dist / WHEEL) as wheel:
            self.assertIn("ggufbench-1.2.3.dist-info/licenses/LICENSES-LINKED.txt", wheel.namelist())
        digests = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
        for name in (archive, WHEEL):
            self.assertEqual(digests[f"./{name}"], hashlib.sha256((dist / name).read_bytes()).hexdigest())
        self.assertFalse((self.folder / "LICENSES-LINKED.txt").exists(), "the folder that was given is left as it was")

    def test_a_folder_without_the_program_is_refused(self):
        done = self.run_script("package.sh", "--folder", self.place)
        self.assertEqual((done.returncode, done.stderr), (2, f"package: {self.place} has no program\n"))


if __name__ == "__main__":
    unittest.main()
