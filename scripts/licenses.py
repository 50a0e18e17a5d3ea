#!/usr/bin/env python3
"""Prints the licenses of everything that is linked into the program, from `cargo metadata` on the standard input.

    cargo metadata --format-version 1 --locked --features portable --filter-platform x86_64-unknown-linux-gnu |
        scripts/licenses.py >LICENSES-LINKED.txt

A list of the crates comes first, then each text once. Crates that only run while the program is built (build scripts, macros,
tests) are left out. llama.cpp's license is in the folder of the crate that contains llama.cpp. A crate without any text fails
the script, unless its license has one wording for everybody and another crate has that text.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

LICENSE_FILE = re.compile(r"(licen[cs]es?|copying|copyright|notice|unlicense)([-_.].*)?", re.IGNORECASE)
# Code whose name looks like that of a license, such as license.cmake.
CODE = {".rs", ".py", ".cmake", ".c", ".h", ".js"}
# What is not linked.
SKIPPED_FOLDERS = {"tests", "test", "examples", "benches", "docs", "target", ".git"}
# Licenses with one wording for everybody, and how the text begins.
STANDARD_TEXTS = {"Apache-2.0": "Apache License", "MPL-2.0": "Mozilla Public License"}

INTRODUCTION = """\
What the program ggufbench contains besides its own code, with the licenses

ggufbench itself is under MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE. llama.cpp is in the crate
llama-cpp-sys-2. Rust's standard library is under MIT or Apache-2.0 (https://www.rust-lang.org). The numbers after a crate are
those of the texts below. The source code of a crate is at the address beside it and, in the named version, at https://crates.io.
"""


def linked(metadata: dict) -> list[dict]:
    """The packages whose code is in the program, by name; not the program itself."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    found, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package in found or is_macro(packages[package]):
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found.remove(root)
    return sorted((packages[package] for package in found), key=lambda p: (p["name"], p["version"]))


def is_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def license_files(package: dict) -> list[Path]:
    """Relative to the package's folder, sorted."""
    top = Path(package["manifest_path"]).parent
    files = {Path(package["license_file"])} if package.get("license_file") else set()
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name.lower() not in SKIPPED_FOLDERS]
        here = Path(folder).relative_to(top)
        files.update(here / n for n in names if LICENSE_FILE.fullmatch(n) and Path(n).suffix.lower() not in CODE)
    return sorted(file for file in files if (top / file).is_file())


class Texts:
    """Each text once, however its lines are broken."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        key = " ".join(text.split())
        if key not in self.numbers:
            self.texts.append(text.strip("\n").rstrip())
            self.numbers[key] = len(self.texts)
        return self.numbers[key]

    def beginning_with(self, words: str) -> int | None:
        numbers = (number for key, number in self.numbers.items() if key.startswith(words))
        return next(numbers, None)


def standard_text(expression: str, texts: Texts) -> int | None:
    offered = set(re.split(r"[\s()/]+", expression))
    numbers = (texts.beginning_with(start) for name, start in STANDARD_TEXTS.items() if name in offered)
    return next((number for number in numbers if number), None)


def render(packages: list[dict]) -> str:
    texts = Texts()
    numbers: dict[str, dict[int, list[str]]] = {}
    for package in packages:
        top = Path(package["manifest_path"]).parent
        own = numbers.setdefault(package["id"], {})
        for file in license_files(package):
            number = texts.number((top / file).read_text(encoding="utf-8", errors="replace"))
            own.setdefault(number, []).append(file.as_posix())
    lines = [INTRODUCTION]
    for package in packages:
        named = f"{package['name']} {package['version']}"
        expression = package["license"] or "license: see the text"
        own = numbers[package["id"]]
        if not own:
            number = standard_text(package["license"] or "", texts)
            if number is None:
                sys.exit(f"licenses: {named} ({expression}): no text of its license is in its folder")
            own[number] = []
        source = package.get("repository") or package.get("homepage") or "crates.io"
        lines.append(f"{named}, {expression}, {source}: {', '.join(map(reference, own.items()))}")
    for number, text in enumerate(texts.texts, 1):
        lines.append(f"\n{'=' * 100}\n[{number}]\n\n{text}")
    return "\n".join(lines) + "\n"


def reference(text: tuple[int, list[str]]) -> str:
    """The file is named where it says whose license it is, that is, in a subfolder."""
    number, files = text
    below = [file for file in files if "/" in file]
    return f"[{number}]" + (f" ({', '.join(below)})" if below else "")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(render(linked(json.load(sys.stdin))))
