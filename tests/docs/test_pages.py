"""The pages are followed: each block of ``bash`` is run, on phantoms and with tiny networks.

What the tests shorten stands in ``small.yaml`` (laid over a run's config), ``SHORT``, ``PHANTOMS`` and ``MORE`` (words
behind those of the page); all else is done as a page says it. A block under ``<!-- not run: ... -->`` is left out.
"""

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from writers import worlds
from writers.pages import blocks_of, run_bash, write_files_of

from medimg.cli import RUN_VERBS, main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())
OWN = {"my": "busi"}  # a config of the reader's own and the one it is like
SHORT = {
    "trainer.accelerator": "cpu", "trainer.devices": "1", "trainer.precision": "32-true",
    "trainer.max_epochs": "1", "trainer.check_val_every_n_epoch": "1", "trainer.limit_train_batches": "2",
    "trainer.enable_progress_bar": "false", "data.num_workers": "0",
}  # fmt: skip
PHANTOMS = {
    "ultrasound": "--images 30 --size [64,64]",
    "lidc": "--cases 6 --size [24,64,64]",
    "ct": "--cases 2 --size [24,64,64]",
    "nodules": "--nodules 36 --size 16",
    "nodulemnist3d": "--nodules 60 --size 16",
    "grade": "--cases 12 --shape [24,24,24]",
    "fusion": "--cases 40 --size 32",
    "pe": "--studies 10 --tests 2 --size [24,64,64]",
}
# What keeps a verb short, or from finding nothing in the answers of a network that has learned nothing.
MORE = {
    "pseudolabel": "--positive 0.5 --negative 0.5",
    "explain": "--limit 2 --curve_steps 4",
    "report": "--resamples 50",
}
HOWTOS = [ROOT / "docs" / "start.md", *sorted((ROOT / "docs").glob("howto-*.md"))]
PAGES = [page for page in HOWTOS if any(block.why_not is None for block in blocks_of(page))]


def shortened(words, place):
    """The words of a page with the overlays and options that make it short."""
    verb, *rest = words
    if verb == "phantom":
        return [*words, *PHANTOMS[rest[0]].split()]
    if verb in MORE:
        return [*words, *MORE[verb].split()]
    if verb not in (*RUN_VERBS, "crossval") or "--help" in words or any(".help" in word for word in words):
        return words
    given = [rest[number + 1] for number, word in enumerate(rest) if word == "--config"]
    # The last one that has an overlay: it comes after those that the page lays over.
    overlays = [overlay for path in given if (overlay := overlay_for(Path(path).stem, place)) is not None][
        -1:
    ]
    if not overlays and verb != "fit":
        return words  # the config of a run is short already
    laid = [word for path in overlays for word in ("--config", str(path))]
    last = max((n for n, word in enumerate(rest) if word == "--config"), default=-2) + 2
    short = [word for name, value in SHORT.items() for word in (f"--{name}", value)]
    return [verb, *rest[:last], *laid, *rest[last:], *short]


def overlay_for(name, place):
    name = OWN.get(name, name)
    if name not in SMALL:
        return None
    path = place / ".small" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(SMALL[name]))
    return path


@pytest.fixture
def in_process(monkeypatch):
    """The runs of a cross-validation in this process, since another takes longer to start than they do."""

    def capture(words):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            status = main(list(words))
        return subprocess.CompletedProcess(words, status, shown.getvalue(), "")

    monkeypatch.setattr("medimg.crossval.processes.run_verb", lambda words, lock: main(list(words)))
    monkeypatch.setattr("medimg.crossval.processes.capture_verb", capture)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Short runs that several pages begin with, each made once: ``runs("busi", "predict")`` gives its folder."""
    made = {}

    def make(name, *verbs):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            (made[name] / "home").mkdir()
            shutil.copytree(ROOT / "configs", made[name] / "configs")
            root = worlds.DATA[name](made[name] / "data")
            follow_words(made[name], ["fit", "--config", f"configs/{name}.yaml", "--data.root", str(root)])
        run = made[name] / "lightning_logs" / name / "version_0"
        for verb in verbs:
            if not (run / verb).exists():
                follow_words(made[name], [verb, "--config", str(run / "config.yaml")])
        return run

    return make


def follow_words(place, words):
    before = Path.cwd()
    os.chdir(place)
    try:
        assert main(shortened(words, place)) == 0, words
    finally:
        os.chdir(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page, tmp_path, runs, monkeypatch, in_process):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    write_files_of(page, tmp_path)
    world = worlds.WORLDS[page.stem](tmp_path, page, runs)
    failed = []

    def call(command):
        if command.kind == "turn":
            next(world, None)
            return 0
        if command.kind == "other":
            return 0
        for folder in filter(None, command.python_path.split(":")):
            monkeypatch.syspath_prepend(folder)
        os.chdir(command.place)
        status = main(shortened(command.words, tmp_path))
        # Every output that a page names is there afterwards.
        outs = [command.words[n + 1] for n, word in enumerate(command.words) if word == "--out"]
        missing = [out for out in outs if not (command.place / out).exists()]
        if status != 0 or missing:
            failed.append((" ".join(command.words), status, missing))
            return status or 1
        return 0

    blocks = [block for block in blocks_of(page) if block.why_not is None]
    status = run_bash(blocks, tmp_path, call, stop=True)
    assert not failed
    assert status == 0


def test_no_page_is_left_out():
    assert {page.stem for page in PAGES} == set(worlds.WORLDS)
    assert {name for name in SMALL if not (ROOT / "configs" / f"{name}.yaml").is_file()} == {
        "mine",
        "lesionnet",
    }
