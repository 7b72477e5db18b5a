import re
from pathlib import Path

import pytest
import yaml

from medimg.reports import references
from medimg.reports.config_parts import Part
from medimg.reports.references import entries, keys_of

ROOT = Path(__file__).parents[2]
# As docstrings have them: Lin et al. 2017, "Focal loss", arXiv:1708.02002.
CITED = re.compile(
    r"(?!The\b)([A-Z][\w-]+)(?:,? [\w ,.-]*?)? (\d{4}), \"([^\"]+)\"(?: \(\w+\))?,"
    r"(?: [A-Z][\w ]+\d*,)? (arXiv|doi):([\w./-]*\w)"
)


def field(entry, name):
    found = re.search(rf"^  {name} = \{{(.*)\}},?$", entry, flags=re.M)
    return found[1] if found else ""


def plain(text):
    """Letters and digits, in small type."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\\['\"]", "", text).lower())


def docstring_citations():
    """What the package's docstrings cite, by identifier."""
    found = {}
    for path in sorted((ROOT / "medimg").rglob("*.py")):
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for surname, _, title, kind, identifier in CITED.findall(text):
            found[kind, identifier.lower()] = (surname, title)
    return found


def test_authors_and_titles_are_those_of_the_docstrings():
    cited, compared = docstring_citations(), 0
    for key, entry in entries().items():
        for kind, name in (("arXiv", "eprint"), ("doi", "doi")):
            told = cited.get((kind, field(entry, name).lower()))
            if told is None:
                continue
            compared += 1
            assert plain(field(entry, "author")).startswith(plain(told[0])), key
            assert plain(told[1]) in plain(field(entry, "title")), key
    assert compared >= 25


def test_keys_identifiers_and_years_are_well_formed():
    found = entries()
    text = (ROOT / "medimg" / "reports" / "references.bib").read_text(encoding="ascii")
    assert text.count("\n@") + 1 == len(found) - 1, "an entry stands twice, or without a blank line before it"
    identifiers = []
    for key, entry in found.items():
        if key == "medimg":
            continue
        surname, year = re.fullmatch(r"([a-z]+)(\d{4})\w+", key).groups()
        assert plain(field(entry, "author")).startswith(surname), key
        assert field(entry, "year") == year
        eprint, doi, url = (field(entry, name) for name in ("eprint", "doi", "url"))
        assert not eprint or (re.fullmatch(r"\d{4}\.\d{4,5}", eprint) and "archiveprefix" in entry), key
        # An identifier of arXiv begins with the year and month of the first version.
        assert not eprint or 2000 + int(eprint[:2]) <= int(year) + (key == "vaswani2017attention"), key
        assert not doi or re.fullmatch(r"10\.\d{4,}/\S+", doi), key
        assert eprint or doi or url or key == "maron1997mil", key
        identifiers += [one for one in (eprint, doi, url) if one]
    assert len(identifiers) == len(set(identifiers))


def test_our_own_entry_is_that_of_the_citation_file():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cff["title"], cff["authors"][0]["name"]) == (references.TITLE, references.AUTHOR)
    own = entries()["medimg"]
    assert field(own, "version") == cff["version"]
    cffconvert = pytest.importorskip("cffconvert")
    made = cffconvert.Citation((ROOT / "CITATION.cff").read_text(encoding="utf-8")).as_bibtex()
    for name in ("author", "title"):
        assert re.search(rf"{name} = \{{(.*)\}}", made)[1] == field(own, name).strip("{}")


def test_every_key_that_is_named_has_an_entry():
    named = {key for table in (references._CLASSES,) for keys in table.values() for key in keys}
    for table in (references._FAMILIES, references._DECODERS, references._PACKAGES):
        named |= set(table.values())
    by_arguments = set(
        re.findall(r"\"([a-z]+\d{4}[a-z0-9]+)\"", (ROOT / "medimg/reports/references.py").read_text())
    )
    assert named <= by_arguments == set(entries()) - {"medimg"}


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        (Part("mylab.AdamW"), ()),
        (Part("monai.networks.nets.UNETR"), ("hatamizadeh2022unetr", "cardoso2022monai")),
        (Part("albumentations.Rotate"), ("buslaev2020albumentations",)),
        (Part("medimg.tasks.MoCoTask", {"version": "v3"}), ("susmelj2020lightly", "chen2021mocov3")),
        (Part("medimg.tasks.MoCoTask"), ("susmelj2020lightly", "he2020moco", "chen2020mocov2")),
        (Part("medimg.losses.FocalLoss", {"label_smoothing": 0.0}), ("lin2017focal",)),
        (
            Part("medimg.models.ResNet3D", {"weights": "w/resnet_18_23dataset.pth"}),
            ("he2016resnet", "hara2018resnet3d", "chen2019med3d"),
        ),
        (Part("medimg.models.ResNet3D", {"weights": "run/encoder.safetensors"}), ("he2016resnet", "hara2018resnet3d")),
        (
            Part("medimg.tasks.ClassificationTask", {"training": {"cutmix_alpha": 1, "rates": {"layer_decay": 0.7}}}),
            ("yun2019cutmix", "clark2020electra"),
        ),
        (
            Part("medimg.models.SMPSegmenter", {"architecture": "UnetPlusPlus", "encoder": "resnet34"}),
            ("iakubovskii2019smp", "wightman2019timm", "zhou2018unetpp", "he2016resnet"),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Part) else "",
)  # fmt: skip
def test_keys_of_parts(part, keys):
    assert keys_of(part) == keys
