import csv
import json
from collections import defaultdict

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.split import split
from medimg.datamodules.image_split import choose_image_split
from medimg.datasets import ImageFolder, index_dataset
from medimg.errors import ConfigError, DataError
from medimg.preparation.splits import choose_split

SHAPE = (6, 8, 10)


@pytest.fixture
def volumes(tmp_path, write_nnunet, write_volume):
    """Twelve cases of eleven patients; lesions grow from case to case, and two masks are empty."""
    root = write_nnunet(tmp_path / "Dataset001_Fake", 12, labels={"background": 0, "liver": 1}, shape=SHAPE)
    for number in range(12):
        mask = np.zeros(SHAPE, np.uint8)
        mask.ravel()[: number * 40 if number > 1 else 0] = 1
        write_volume(root / f"labelsTr/case_{number:03d}.nii.gz", mask)
    patients = {f"case_{number:03d}": f"p{max(number, 1):02d}" for number in range(12)}
    (root / "patients.json").write_text(json.dumps(patients))
    return root


@pytest.fixture
def images(tmp_path, write_class_folders):
    return write_class_folders(tmp_path / "images", {"benign": 12, "malignant": 6})


def read(path):
    with path.open(newline="") as file:
        return {row["case_id"]: (row["patient_id"], row["fold"]) for row in csv.DictReader(file)}


def expect_whole_patients(found):
    sides = defaultdict(set)
    for patient, fold in found.values():
        sides[patient].add(fold)
    assert all(len(side) == 1 for side in sides.values())


def test_volumes(tmp_path, volumes, capsys):
    out = tmp_path / "splits.csv"
    assert main(["split", str(volumes), "--folds", "3", "--out", str(out), "--holdout", "0.2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"Dataset001_Fake: {volumes}"
    assert said[1].split() == ["fold", "0", "fold", "1", "fold", "2", "test", "all"]
    assert said[-3].split()[-1] == "2"  # empty masks
    assert said[-2].startswith(f"written: {out}, sha256 ")
    assert said[-1] == f"next: medimg fit --config CONFIG --data.split.file {out} --data.fold 0"
    found = read(out)
    assert found.keys() == {f"case_{number:03d}" for number in range(12)}
    assert {fold for _, fold in found.values()} == {"0", "1", "2", "test"}
    expect_whole_patients(found)
    index = index_dataset(volumes)
    for fold in range(3):
        chosen = choose_split(index, fold=fold, num_folds=5, split_file=out)
        assert set(chosen.val) == {case for case, (_, own) in found.items() if own == str(fold)}
        assert set(chosen.test) == {case for case, (_, own) in found.items() if own == "test"}
        assert len(chosen.train) + len(chosen.val) + len(chosen.test) == 12


def test_images(tmp_path, images, capsys):
    out = tmp_path / "splits.csv"
    # A copy stays with its original.
    (images / "malignant" / "again.png").write_bytes((images / "benign" / "benign (1).png").read_bytes())
    assert main(["split", str(images), "--folds", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    header, *lines = said.splitlines()[1:]
    assert header.split() == ["fold", "0", "fold", "1", "fold", "2", "all"]
    assert [line.split()[0] for line in lines[:4]] == ["cases", "patients", "benign", "malignant"]
    found = read(out)
    expect_whole_patients(found)
    assert found["malignant/again.png"][1] == found["benign/benign (1).png"][1]
    index = ImageFolder().index(images)
    for fold in range(3):
        chosen = choose_image_split(index, fold=fold, num_folds=5, split_file=out)
        assert sorted((*chosen.train, *chosen.val)) == sorted(found)
        assert sum(case.startswith("benign") for case in chosen.val) == 4
        assert sum(case.startswith("malignant") for case in chosen.val) in (2, 3)


@pytest.mark.parametrize("kind", ["volumes", "images"])
def test_the_same_words_write_the_same_bytes(tmp_path, kind, request, capsys):
    root = request.getfixturevalue(kind)
    written = []
    for number, seed in enumerate((7, 7, 8)):
        out = tmp_path / f"{number}.csv"
        split(root, out=out, folds=3, holdout=0.2, seed=seed, workers=1 + number)
        written.append(out.read_bytes())
    assert written[0] == written[1] != written[2]
    said = [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines() if "sha256" in line]
    assert said[0] == said[1] != said[2]


def test_an_existing_table_is_kept_unless_told(tmp_path, images):
    out = tmp_path / "splits.csv"
    out.write_text("mine")
    with pytest.raises(
        ConfigError, match="exists, and runs may refer to it: give another --out, or --overwrite"
    ):
        split(images, out=out, folds=3)
    assert out.read_text() == "mine"
    assert split(images, out=out, folds=3, overwrite=True) == 0
    assert len(read(out)) == 18


def test_what_contradicts_itself_is_refused(tmp_path, images):
    out = tmp_path / "splits.csv"
    with pytest.raises(ConfigError, match=r"splits\.json: expected a name that ends in \.csv"):
        split(images, out=tmp_path / "splits.json")
    with pytest.raises(ConfigError, match="each name a split: give one of them"):
        split(images, out=out, official=True, from_=out)
    for more in ({"folds": 5}, {"holdout": 0.1}):
        with pytest.raises(ConfigError, match=r"--official takes a split as it is.*leave them away"):
            split(images, out=out, official=True, **more)
        with pytest.raises(ConfigError, match="--from takes a split as it is"):
            split(images, out=out, from_=out, **more)
    with pytest.raises(DataError, match="0 folds: expected at least 2"):
        split(images, out=out, folds=0)
    with pytest.raises(DataError, match="holdout 2: expected a share between 0 and 1"):
        split(images, out=out, holdout=2)
    with pytest.raises(DataError, match="there is no such table"):
        split(images, out=out, from_=tmp_path / "none.csv")
    assert not out.exists()


def test_nnunets_file_is_taken_and_checked(tmp_path, volumes, capsys):
    ids = [f"case_{number:03d}" for number in range(12)]
    path, out = tmp_path / "splits_final.json", tmp_path / "splits.csv"
    path.write_text(json.dumps([{"train": ids[6:], "val": ids[:6]}, {"train": ids[:6], "val": ids[6:]}]))
    assert main(["split", str(volumes), "--from", str(path), "--out", str(out)]) == 0
    found = read(out)
    assert [found[case][1] for case in ids] == ["0"] * 6 + ["1"] * 6
    # The table itself is taken too, and comes out as it was.
    again = tmp_path / "again.csv"
    assert main(["split", str(volumes), "--from", str(out), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    path.write_text(json.dumps([{"train": ids[1:], "val": ids[:1]}, {"train": ids[:1], "val": ids[1:]}]))
    capsys.readouterr()
    assert main(["split", str(volumes), "--from", str(path), "--out", str(tmp_path / "new.csv")]) == 2
    assert (
        "puts 1 patients on two sides, such as p01, who stands in fold 0 and in fold 1"
        in capsys.readouterr().err
    )
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"splits_final\.json holds none\. Deal one with --folds"):
        split(volumes, out=tmp_path / "new.csv", from_=path)


def test_published_folds_of_volumes(tmp_path, volumes, capsys):
    out = tmp_path / "splits.csv"
    with pytest.raises(ConfigError, match="Dataset001_Fake publishes none"):
        split(volumes, out=out, official=True)
    ids = [f"case_{number:03d}" for number in range(12)]
    folds = [{"train": ids[4:], "val": ids[:4]}]
    (volumes / "splits_final.json").write_text(json.dumps(folds))
    assert split(volumes, out=out, official=True) == 0
    assert {case for case, (_, fold) in read(out).items() if fold == "0"} == set(ids[:4])
    chosen = choose_split(index_dataset(volumes), fold=0, num_folds=5, split_file=out)
    assert chosen.digest == choose_split(index_dataset(volumes), fold=0, num_folds=5).digest
    capsys.readouterr()
    assert split(volumes, out=tmp_path / "own.csv", folds=3) == 0
    assert "--official takes it" in capsys.readouterr().out


def test_published_parts_of_images(tmp_path, write_class_folders, capsys):
    root = tmp_path / "images"
    for part, count in {"train": 6, "val": 3, "test": 2}.items():
        write_class_folders(root, {"benign": count, "malignant": count}, prefix=part)
    out = tmp_path / "splits.csv"
    assert main(["split", str(root), "--official", "--out", str(out)]) == 0
    folds = {case: fold for case, (_, fold) in read(out).items()}
    place = {"train": "1", "val": "0", "test": "test"}
    assert folds == {case: place[case.partition("/")[0]] for case in folds}
    index = ImageFolder().index(root)
    own = choose_image_split(index, fold=0, num_folds=5, split_file=out)
    published = choose_image_split(index, fold=0, num_folds=5)
    assert (own.train, own.val) == (published.train, published.val)
    with pytest.raises(ConfigError, match=r"--holdout 0\.1: images publishes 4 test cases already"):
        split(root, out=tmp_path / "new.csv", holdout=0.1)
    assert split(root, out=tmp_path / "own.csv", folds=3) == 0
    assert sum(fold == "test" for _, fold in read(tmp_path / "own.csv").values()) == 4
