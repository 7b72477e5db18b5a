"""The documentation site: every page has its place, and the built site needs no network."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
MADE = {"reference/commands.md", "changes.md", "citing.md"}


class Tags(yaml.SafeLoader):
    """Reads mkdocs.yml, whatever tags its plugins use."""


Tags.add_multi_constructor("!", lambda loader, suffix, node: suffix)


def settings():
    return yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Tags)


def pages(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages(value) if isinstance(value, list) else [value]


def test_every_page_has_its_place():
    listed = list(pages(settings()["nav"]))
    assert len(listed) == len(set(listed))
    reference = {name for name in listed if name.startswith("reference/")}
    assert set(listed) - reference - MADE == WRITTEN


def test_every_room_of_the_reference_is_listed():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    source = (DOCS / "hooks.py").read_text()
    assert spec is not None
    rooms = set(re.findall(r'"(\w+)"', source[source.index("ROOMS = (") : source.index("_OUTSIDE")]))
    listed = {Path(name).stem for name in pages(settings()["nav"]) if name.startswith("reference/")}
    assert listed - {"commands"} == rooms
    assert all((ROOT / "medimg" / room / "__init__.py").is_file() for room in rooms)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs the group docs: uv sync --group docs")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder / "built")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder / "built"
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_built_site_fetches_nothing(site):
    fetched = re.compile(
        r"<(?:script|img|link|source|iframe)\b[^>]*\b(?:src|href)=[\"']?(https?:|//)[^\"'> ]*"
    )
    found = [
        f"{path.name}: {match.group(0)}"
        for path in site.rglob("*.html")
        for match in fetched.finditer(path.read_text(encoding="utf-8"))
        if 'rel="canonical"' not in match.group(0)
    ]
    assert not found
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(?:url\(|@import )[\"']?https?:", styles)


@pytest.mark.slow
def test_the_reference_holds_commands_and_docstrings(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "--ckpt_path" in commands and str(ROOT) not in commands
    losses = (site / "reference" / "losses.html").read_text(encoding="utf-8")
    assert "Focus of the negatives" in losses and "&gt;&gt;&gt;" in losses
