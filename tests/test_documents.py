"""The lists beside the documents are whole; what the documents tell to type is tested in docs/."""

import re
from pathlib import Path

import yaml
from cffconvert import Citation

ROOT = Path(__file__).parents[1]


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
