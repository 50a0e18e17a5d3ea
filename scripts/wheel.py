#!/usr/bin/env python3
"""Writes a Python wheel that holds the portable build: `pip install` of it puts `ggufbench` on the PATH.

    scripts/wheel.py target/portable/ggufbench-VERSION-x86_64-linux OUTPUT_FOLDER --glibc 2.34

The wheel has the whole folder, because the program needs its libraries and CPU backends beside it. Licenses lie where Python's
packages have theirs. The command that pip writes starts Python, which then replaces its own process by the program. --glibc is
the C library that the folder needs: pip refuses the wheel on an older system. Only the standard library is used. The same folder
gives the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER_NAME = re.compile(r"ggufbench-(?P<version>.+)-x86_64-linux")

INIT = '"""The program ggufbench with its libraries, in the folder `program`."""\n'

MAIN = '''\
"""Replaces this process by the program, so that signals, exit codes and streams are the program's own."""

import os
import signal
import sys

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "program", "ggufbench")


def main():
    # Python ignores these signals, and the program would inherit that.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(PROGRAM, sys.argv)


if __name__ == "__main__":
    main()
'''

ENTRY_POINTS = "[console_scripts]\nggufbench = ggufbench.__main__:main\n"

METADATA = """\
Metadata-Version: 2.1
Name: ggufbench
Version: {version}
Summary: {summary}
License: {license}
Requires-Python: >=3.8
Description-Content-Type: text/markdown

{readme}"""

WHEEL = """\
Wheel-Version: 1.0
Generator: ggufbench scripts/wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""


def die(message: str) -> None:
    sys.stderr.write(f"wheel: {message}\n")
    sys.exit(2)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that scripts/portable.sh wrote")
    parser.add_argument("output", type=Path, help="the folder that the wheel is written to")
    parser.add_argument("--glibc", required=True, metavar="2.N", help="the oldest C library that the folder runs with")
    return parser.parse_args()


def version_of(folder: Path) -> str:
    named = FOLDER_NAME.fullmatch(folder.resolve().name)
    if not named:
        die(f"{folder}: the name is not ggufbench-VERSION-x86_64-linux")
    version = named["version"]
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        die(f"{version}: pip writes versions with a suffix in another way, so this script takes only numbers and dots")
    return version


def tag_of(glibc: str) -> str:
    parts = re.fullmatch(r"2\.(\d+)", glibc)
    if not parts:
        die(f"--glibc {glibc}: expected a version such as 2.34")
    return f"py3-none-manylinux_2_{parts[1]}_x86_64"


def manifest_value(key: str) -> str:
    """Of Cargo.toml. Python before 3.11 has no TOML reader."""
    value = re.search(rf'^{key} *= *"(.*)"$', (PROJECT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if not value:
        die(f"Cargo.toml has no {key}")
    return value[1]


class Wheel:
    """A wheel that is being written. Its last file lists all others with their digests."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.records: list[str] = []

    def add(self, name: str, data: bytes, executable: bool = False) -> None:
        entry = zipfile.ZipInfo(name)  # dated 1980, so that the bytes depend on the contents alone
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.create_system = 3  # Unix: pip reads the mode
        entry.external_attr = (0o100755 if executable else 0o100644) << 16
        self.archive.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.records.append(f"{name},sha256={digest},{len(data)}\n")

    def add_text(self, name: str, text: str) -> None:
        self.add(name, text.encode())

    def finish(self, record: str) -> None:
        self.records.append(f"{record},,\n")
        self.archive.writestr(zipfile.ZipInfo(record), "".join(self.records))
        self.archive.close()


def files_of(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    for path in files:
        if path.is_symlink():
            die(f"{path}: wheels cannot hold links")
        if "," in path.name or '"' in path.name:
            die(f"{path}: the name would need quotes in the wheel's list of files")
    return files


def write(folder: Path, output: Path, glibc: str) -> Path:
    version, tag = version_of(folder), tag_of(glibc)
    program, readme = folder / "ggufbench", folder / "README.md"
    for needed in (program, readme):
        if not needed.is_file():
            die(f"{needed}: no such file")
    if not os.access(program, os.X_OK):
        die(f"{program} is not executable")
    files = files_of(folder)
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"ggufbench-{version}-{tag}.whl"
    unfinished = path.with_suffix(".whl.new")
    wheel = Wheel(unfinished)
    wheel.add_text("ggufbench/__init__.py", INIT)
    wheel.add_text("ggufbench/__main__.py", MAIN)
    licenses = sorted(folder.glob("LICENSE*"))
    for file in (file for file in files if file not in licenses):
        name = f"ggufbench/program/{file.relative_to(folder).as_posix()}"
        wheel.add(name, file.read_bytes(), os.access(file, os.X_OK))
    info = f"ggufbench-{version}.dist-info"
    about = {"summary": manifest_value("description"), "license": manifest_value("license")}
    text = readme.read_text(encoding="utf-8")
    wheel.add_text(f"{info}/METADATA", METADATA.format(version=version, readme=text, **about))
    wheel.add_text(f"{info}/WHEEL", WHEEL.format(tag=tag))
    wheel.add_text(f"{info}/entry_points.txt", ENTRY_POINTS)
    for file in licenses:
        wheel.add(f"{info}/licenses/{file.name}", file.read_bytes())
    wheel.finish(f"{info}/RECORD")
    unfinished.replace(path)
    return path


if __name__ == "__main__":
    given = arguments()
    print(write(given.folder, given.output, given.glibc))
