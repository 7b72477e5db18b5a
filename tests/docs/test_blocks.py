"""What the documents tell to type is what medimg takes; a block that is not run says why."""

import importlib
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonargparse import auto_parser
from writers.pages import blocks_of, run_bash, write_files_of

from medimg.cli import RUN_VERBS, VERBS, main
from medimg.commands.crossval import split_words
from medimg.commands.parser import FileVerbParser
from medimg.commands.run_words import config_files

ROOT = Path(__file__).parents[2]
EVERY = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md")
PAGES = [page for page in EVERY if blocks_of(page)]
FOLLOWED = [page for page in PAGES if page.stem == "start" or page.stem.startswith("howto-")]
# Configs of the reader's own, and of runs whose folder does not tell; a run is else known by its experiment.
OWN = {"mine": "hippocampus", "my": "busi", "a": "busi", "b": "busi"}
RUN_OF = {"howto-dicom": "hippocampus", "howto-pe": "pe"}
# What else may stand in a block, and in which form.
OTHERS = {
    "pip": r"(install|wheel) (-c constraints\.txt )?(-w wheels |--no-index --find-links wheels )?[\w.\[\],-]+",
    "curl": r"-LsSf https://astral\.sh/uv/install\.sh",
    "uv": r"(sync( --extra [\w-]+)*|pip install .+)",
    "tensorboard": r"--logdir \S+",
    "python": r"(-m venv \S+|benchmarks/\w+\.py.*|-c .+)",
    "bash": r"configs/case_study/run\.sh .+",
}
PLAIN = {"mkdir", "cp", "mv", "ls", "cat", "basename", "scp", "sh", "make", "pytest", "uv", "mkdocs"}
LANGUAGES = {"bash", "yaml", "json", "python", "powershell", "bibtex", "csv", ""}


@cache
def typed(page):
    """All commands of a page, from a bash that runs none of them."""
    import tempfile

    found = []

    def note(command):
        if command.kind != "turn":
            found.append(command)
        return 0

    with tempfile.TemporaryDirectory() as folder:
        run_bash(blocks_of(page), Path(folder), note, stop=False, path="/nowhere")
    return found


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_marks_stand_above_blocks_and_nothing_hides_from_the_tests(page):
    text = page.read_text()
    blocks = blocks_of(page)
    assert text.count("<!-- not run") == sum(block.why_not is not None for block in blocks)
    assert all(len(block.why_not.split()) > 2 for block in blocks if block.why_not is not None)
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.M | re.S)
    assert {language for language, _ in fences} <= LANGUAGES
    for language, content in fences:
        assert language in ("bash", "powershell") or not re.search(r"^\s*medimg \w", content, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_verb_of_a_page_takes_its_words(page):
    for command in typed(page):
        if command.kind == "other":
            name, *words = command.words
            form = OTHERS.get(name, "" if name not in PLAIN else ".*")
            assert re.fullmatch(form, " ".join(words)), f"{page.name}: {' '.join(command.words)}"
            continue
        verb, *words = command.words
        assert verb in VERBS, f"{page.name}: there is no verb {verb}"
        if verb not in RUN_VERBS and "--help" not in words:
            parse(verb, words)


def parse(verb, words):
    """Read the words by the verb's own parser, and call nothing."""
    module = importlib.import_module(f"medimg.commands.{verb}")
    target = getattr(module, verb)
    if isinstance(target, dict):
        assert words[0] in target, f"medimg {verb} has no {words[0]}"
        target, words = target[words[0]], words[1:]
    parser = auto_parser(target, parser_class=getattr(module, "PARSER", FileVerbParser))
    spelt = [re.sub(r"^--[\w-]+", lambda option: "--" + option[0][2:].replace("-", "_"), w) for w in words]
    parser.parse_args(spelt)


# ---- runs: their options are those of the classes in their configs ---------------------------------


@cache
def experiments():
    """The shipped config of each experiment."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        found[yaml.safe_load(path.read_text()).get("experiment", path.stem)] = (f"configs/{path.name}",)
    return found


def stand_ins(page, path, made, folder):
    """A config; for that of a run that is yet to be made, those that make it."""
    if (folder / path).is_file():
        return (str(path),)
    run = path.parent.parent.name
    name = OWN.get(path.stem) or OWN.get(run) or RUN_OF.get(page.stem)
    found = made.get(run) or experiments().get(run) or (name and (f"configs/{name}.yaml",))
    assert found, f"{page.name}: there is no config {path}"
    return found


def runs_of(page, folder):
    """Words of each run on a page with the configs in their place; those of crossval are those of a fit."""
    made = {}
    for command in typed(page):
        verb, *words = command.words
        if (
            command.kind != "medimg"
            or verb not in (*RUN_VERBS, "crossval")
            or any("help" in w for w in words)
        ):
            continue
        configs = tuple(c for path in config_files(words) for c in stand_ins(page, path, made, folder))
        if verb == "crossval":
            verb, words = "fit", split_words(words)[1]
        if "--experiment" in words:
            made[words[words.index("--experiment") + 1]] = configs
        for path in configs:
            made[yaml.safe_load((folder / path).read_text()).get("experiment")] = configs
        yield verb, configs, without_configs(words)


def without_configs(words):
    rest = iter(words)
    kept = []
    for word in rest:
        if word == "--config":
            next(rest)
        else:
            kept.append(word)
    return kept


def test_every_option_of_a_run_is_one_of_its_config(tmp_path, monkeypatch, capsys):
    """One call for each set of configs, with the options of all pages, since each takes half a second.

    The verbs of runs take the same options.
    """
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    calls = {}
    for page in PAGES:
        write_files_of(page, tmp_path)
        for verb, configs, words in runs_of(page, tmp_path):
            assert configs, f"{page.name}: medimg {verb} without a config"
            calls.setdefault(configs, []).append((page.name, words))
    assert len(calls) > 20
    for configs, found in calls.items():
        words = [word for config in configs for word in ("--config", config)]
        words += [word for _, more in found for word in more]
        status = main(["fit", *words, "--print_config"])
        said = capsys.readouterr()
        assert status == 0, f"{sorted({name for name, _ in found})}: {said.err}"
