"""Pages of the site that are made from the code: the commands by their --help, the packages by their docstrings.

mkdocs calls these functions; ``mkdocs.yml`` names this file.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "medimg"
# In the order of the work, with what a reader of the reference looks for.
ROOMS = (
    *("datasets", "transforms", "datamodules", "models", "losses", "tasks"),
    *("inference", "callbacks", "scoring", "explain"),
)
# A built site cannot follow a link to a file outside of docs/.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that no one writes by hand."""
    made = {
        "reference/commands.md": commands_page(),
        **{f"reference/{room}.md": python_page(room) for room in ROOMS},
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "citing.md": citing_page(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links to files outside of docs/ become their names."""
    return _OUTSIDE.sub(r"\1", markdown)


def commands_page() -> str:
    """Every verb with its --help, in the order of the work."""
    sys.path.insert(0, str(ROOT))
    from medimg.cli import VERBS

    text = ["# Commands", "", "What `medimg VERB --help` says, verb by verb.", ""]
    for verb, purpose in VERBS.items():
        text += [
            f"## {verb}",
            "",
            f"{purpose[0].upper()}{purpose[1:]}.",
            "",
            "```text",
            help_of(verb),
            "```",
            "",
        ]
    return "\n".join(text)


def help_of(verb: str) -> str:
    """What ``medimg VERB --help`` prints, 100 columns wide."""
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "medimg", verb, "--help"],
        env=environment, capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return done.stdout.replace(str(ROOT), ".").strip()


def python_page(room: str) -> str:
    """The public names of a package; the docstrings are read from the source, and nothing is imported.

    Args:
        room: Folder of the package. One that exports no names is shown file by file.
    """
    folder = PACKAGE / room
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    text = [f"# medimg.{room}", "", ast.get_docstring(tree) or "", ""]
    names = exported(tree) or sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    for name in names:
        text += [f"::: medimg.{room}.{name}", ""]
    return "\n".join(text)


def exported(tree: ast.Module) -> list[str]:
    """Names in ``__all__``.

    Args:
        tree: An ``__init__.py``.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def citing_page() -> str:
    """How to cite, from CITATION.cff."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").strip()
    return "\n".join(
        [
            "# Citing",
            "",
            "Please cite medimg together with the methods and data sets that you used. `medimg report` writes, from",
            "the config of a run, the BibTeX entries of its methods and a paragraph for the paper.",
            "",
            "```yaml",
            citation,
            "```",
        ]
    )
