import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from medimg.cli import main
from medimg.commands.report import report
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import label_row, write_label_table


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a folder of images, with its data where its config says."""
    monkeypatch.chdir(tmp_path)
    names = [f"{kind}/{kind} ({n}).png" for kind in ("benign", "malignant") for n in range(1, 9)]
    for number, name in enumerate(names):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (24, 24), np.uint8)
        Image.fromarray(picture).save(tmp_path / "data" / name)
    rows = [
        label_row(name, name, ["malignant"], [0.3 + 0.02 * n], [name.startswith("m")])
        for n, name in enumerate(names)
    ]
    folder = tmp_path / "logs" / "a" / "version_0"
    write_label_table(folder / "test" / "per_case.csv", rows)
    (folder / "test" / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s"}))
    dataset = {"class_path": "medimg.datasets.ImageFolder", "init_args": {"positive": ["malignant"]}}
    data = {
        "class_path": "medimg.datamodules.ImageDataModule",
        "init_args": {"root": str(tmp_path / "data"), "dataset": dataset},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    return folder


def test_one_command_writes_page_markdown_and_card(run, capsys):
    words = [
        "report",
        str(run),
        "--out",
        "r.html",
        "--markdown",
        "r.md",
        "--card",
        "c.md",
        "--resamples",
        "20",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "next: open r.html in a browser"
    page = Path("r.html").read_text()
    assert page.count("data:image/jpeg") == 12 and "benign (" not in page and str(run.parents[2]) not in page
    assert Path("r.md").read_text().startswith("# a/version_0") and Path("c.md").read_text().startswith("---")
    with pytest.raises(ConfigError, match=r"--out r\.html: exists already"):
        report([run], out=Path("r.html"))
    assert report([run], out=Path("r.html"), overwrite=True, ids=True, resamples=20) == 0
    assert "benign (" in Path("r.html").read_text()


def test_data_that_moved_are_named_by_data(run):
    Path("data").rename("moved")
    report([run], out=Path("a.html"), resamples=20)
    assert "not where the run found it; name it as --data" in Path("a.html").read_text()
    report([run], out=Path("b.html"), data=Path("moved"), resamples=20)
    assert "data:image/jpeg" in Path("b.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": Path("a.pdf")}, r"--out a\.pdf: expected a name that ends in \.html"),
        ({"markdown": Path("a.txt")}, r"--markdown a\.txt: expected a name that ends in \.md"),
        ({"markdown": Path("a.md"), "card": Path("a.md")}, "Give each a file of its own"),
        ({"level": 1.0}, "--level and --resamples: expected a share in"),
        ({"resamples": 0}, "--level and --resamples"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(options, message, run):
    with pytest.raises(ConfigError, match=message):
        report([run], **options)
    assert not list(Path.cwd().glob("*.html"))


def test_a_card_is_of_one_run(run):
    with pytest.raises(ConfigError, match="--card: is of one run, found 2"):
        other = run.with_name("version_1")
        (other / "test").mkdir(parents=True)
        for name in ("config.yaml", "test/per_case.csv"):
            (other / name).write_text((run / name).read_text())
        report([run, other], card=Path("c.md"))


def test_a_table_of_sites_needs_its_columns(run):
    Path("sites.csv").write_text("case,hospital\na,b\n")
    with pytest.raises(
        DataError, match="expected the columns site and case_id or patient_id, found case, hospital"
    ):
        report([run], sites=Path("sites.csv"))
    Path("sites.csv").write_text("")
    with pytest.raises(DataError, match="found no rows"):
        report([run], sites=Path("sites.csv"))
