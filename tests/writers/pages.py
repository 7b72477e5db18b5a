"""The command blocks of a page of the documents, and a bash that hands each ``medimg`` in them to a test."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n\n?)?```bash\n(?P<text>.*?)^```$", re.M | re.S)
_FILE = re.compile(r"^```\w+\n# (?P<path>[\w./-]+\.(?:py|yaml))\n(?P<text>.*?)^```$", re.M | re.S)

# `medimg` and what installs or never ends are asked of the test; file descriptor 3 asks, 4 answers.
_PRELUDE = r"""
ask() { local line status; printf -v line '%s\x1f' "$PWD" "${PYTHONPATH-}" "$@"; printf '%s\n' "$line" >&3
  read -r status <&4; return "${status:-1}"; }
medimg() { ask medimg "$@"; }
srun() { "$@"; }
torchrun() { while [ "$1" != -m ]; do shift; done; shift; "$@"; }
uv() { if [ "${1-}" = run ]; then shift; "$@"; else ask other uv "$@"; fi; }
for name in pip curl tensorboard scp ssh; do eval "$name() { ask other $name \"\$@\"; }"; done
command_not_found_handle() { ask other "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """A fence of ``bash`` on a page.

    Attributes:
        line: Where it begins.
        text: What is typed.
        why_not: Why it is not run, from the comment above it; ``None`` where it is.
    """

    line: int
    text: str
    why_not: str | None


@dataclass(frozen=True)
class Command:
    """What bash made of a line.

    Attributes:
        kind: ``medimg``; ``turn`` before each block; ``other`` for tools that are not run.
        words: What follows.
        place: The folder it is called in.
        python_path: ``PYTHONPATH`` at that moment.
    """

    kind: str
    words: list[str]
    place: Path
    python_path: str


def blocks_of(page: Path) -> list[Block]:
    """The command blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start("text")), found["text"], found["why"])
        for found in _BLOCK.finditer(text)
    ]


def write_files_of(page: Path, folder: Path) -> list[Path]:
    """Write the Python and YAML of a page whose first line is ``# <its file's name>``."""
    written = []
    for found in _FILE.finditer(page.read_text(encoding="utf-8")):
        written.append(folder / found["path"])
        written[-1].parent.mkdir(parents=True, exist_ok=True)
        written[-1].write_text(found["text"], encoding="utf-8")
    return written


def run_bash(
    blocks: list[Block], folder: Path, call: Callable[[Command], int], *, stop: bool, path: str | None = None
) -> int:
    """Run blocks one after the other in one bash, whose ``medimg`` is ``call``; return its exit status.

    Args:
        blocks: What is typed.
        folder: Where; its ``home`` stands for ``~``.
        call: Told of every command; its number is the command's exit status.
        stop: Whether the first failure ends it.
        path: ``PATH`` to search; empty lets no program run.
    """
    lines = ["set -eu" if stop else "", _PRELUDE]
    for number, block in enumerate(blocks):
        lines += [f"ask turn {number}", block.text]
    (folder / "home").mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(folder / "home"), "PYTHONPATH": ""}
    environment |= {} if path is None else {"PATH": path}
    asked, asks = os.pipe()
    answered, answers = os.pipe()
    script = f"exec 3>&{asks} 4<&{answered}\n" + "\n".join(lines)
    bash = subprocess.Popen(
        ["/bin/bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        pass_fds=(asks, answered),
    )  # fmt: skip
    os.close(asks)
    os.close(answered)
    with os.fdopen(asked) as questions, os.fdopen(answers, "w") as replies, bash:
        for question in questions:
            place, python_path, kind, *words = question.removesuffix("\x1f\n").split("\x1f")
            print(call(Command(kind, words, Path(place), python_path)), file=replies, flush=True)
    return bash.returncode
