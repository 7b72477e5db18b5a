"""What the documents tell a user to type is accepted, and the lists beside them are whole."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from cffconvert import Citation

from medimg.cli import FILE_VERBS, FOLD_VERBS, RUN_VERBS, SCORE_VERBS, main

ROOT = Path(__file__).parents[1]


def commands(page):
    """Each ``medimg`` command in the shell blocks of a page, without prompts and line continuations."""
    text = page.read_text()
    found = []
    for block in re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"(?:^|&& |; |\s)medimg ((?:fit|validate|test|predict|\w+)\b.*)", line)
            if match and not line.lstrip().startswith("#"):
                found.append(match[1].split(" #")[0].strip())
    return found


PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
TYPED = sorted({(page.name, command) for page in PAGES for command in commands(page)})


def test_the_start_page_has_commands():
    assert sum(name == "start.md" for name, _ in TYPED) >= 5


@pytest.mark.parametrize(("page", "command"), TYPED, ids=lambda text: text)
def test_what_a_page_tells_to_type_is_accepted(page, command, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    verb, *words = shlex.split(command)
    if "--help" in words:
        assert main([verb, *words]) == 0
        return
    if verb in RUN_VERBS:
        # The config of a run that is yet to be made stands in for by the config that made it.
        run = re.search(r"lightning_logs/(\w+)/", command)
        named = [name for name in (run and run[1], "brats" if "brats" in command else None) if name]
        stand_in = next(
            (path for name in named if Path(path := f"configs/{name}.yaml").is_file()),
            "configs/hippocampus.yaml",
        )
        words = [stand_in if word.endswith(".yaml") and not Path(word).is_file() else word for word in words]
        assert main([verb, *words, "--print_config"]) == 0, capsys.readouterr().err
        return
    assert verb in FILE_VERBS | FOLD_VERBS | SCORE_VERBS
    # What `phantom` makes, or a step of `adjudicate`, is a word of its own, with options of its own.
    assert main([verb, *(words[:1] if verb in ("phantom", "adjudicate") else []), "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), f"{verb} has no {option}"


def test_the_citation_is_valid_and_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    Citation(cffstr=text).validate()
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert yaml.safe_load(text)["version"] == version[1]


def test_constraints_name_every_dependency_once():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.split("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))
    listed = re.search(
        r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), flags=re.M | re.S
    )
    for name in re.findall(r'^\s*"([\w-]+)', listed[1], flags=re.MULTILINE):
        assert name.lower() in names
