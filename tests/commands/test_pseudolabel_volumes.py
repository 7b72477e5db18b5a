import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.pseudolabel import pseudolabel
from medimg.commands.pseudolabel_volumes import VolumeWords, volume_rules
from medimg.ensembling.description import Description
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image
from medimg.preparation.pseudo_note import read_note
from medimg.preparation.split_table import SplitRow, write_split_table

FACTS = {"classes": ["a", "b"], "head": "softmax", "labels": {"a": 1, "b": 2}, "part": "predict"}
SHAPE = (2, 3, 4)


def predict(folder, certainties, **facts):
    """A member that calls a half of each case ``a``, as certain as stated."""
    for case, certainty in certainties.items():
        probs = np.zeros((3, *SHAPE), np.float32)
        probs[0], probs[1, :, :, :2] = 1.0, certainty
        probs[0, :, :, :2] = 1 - certainty
        write_image(Path(folder) / f"{case}.nii.gz", probs.argmax(0).astype(np.uint8), np.eye(4))
        np.savez_compressed(Path(folder) / f"{case}.npz", probs=probs.astype(np.float16))
    (Path(folder) / "predictions.json").write_text(json.dumps({**FACTS, **facts}))
    return Path(folder)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, case in enumerate(("c1", "c2", "c3")):
        write_image(Path("new") / f"{case}.nii.gz", np.full(SHAPE, number, np.float32), np.eye(4))
    write_image(Path("old") / "l1.nii.gz", np.full(SHAPE, 9, np.float32), np.eye(4))
    write_split_table(tmp_path / "splits.csv", [SplitRow("l1", "p1", 0), SplitRow("l2", "p2", 1)])
    return tmp_path


def run(*members, out="masks", **options):
    options = {"images": Path("new"), "split": Path("splits.csv"), "labelled": Path("old"), **options}
    assert pseudolabel(list(members), out=Path(out), **options) == 0
    note = read_note(Path(out))
    names = {path.name.removesuffix(".nii.gz") for path in Path(out).glob("*.nii.gz")}
    assert names == set(note.weights)
    return {case: np.unique(read_mask(Path(out) / f"{case}.nii.gz")).tolist() for case in sorted(names)}


def test_the_command_line_writes_masks_and_says_what_is_next(world, capsys):
    member = predict("m", {"c1": 0.99, "c2": 0.97, "c3": 0.6})
    words = ["pseudolabel", str(member), "--out", "masks", "--images", "new", "--split", "splits.csv"]
    assert main([*words, "--labelled", "old", "--positive", "a=0.98", "--weight", "confidence"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "3 of 3 cases are taken, by 1 member: masks"
    assert out[1] == "  66.7 % of the voxels predicted now have a label; 255 is ignored"
    assert out[-1] == "next: medimg fit --config CONFIG --data.split.file splits.csv --data.pseudo.path masks"
    mask = read_mask(Path("masks/c1.nii.gz"))
    assert (mask[..., :2] == 1).all() and (mask[..., 2:] == 0).all()
    assert (read_mask(Path("masks/c2.nii.gz"))[..., :2] == 255).all()
    note = read_note(Path("masks"))
    assert (note.ignore, note.labels) == (255, {"a": 1, "b": 2})
    assert note.weights == pytest.approx({"c1": 0.99, "c2": 0.97, "c3": 0.6}, abs=1e-3)


def test_whole_cases_are_left_out(world):
    one = predict("m", {"c1": 0.99, "c2": 0.97, "c3": 0.6})
    assert set(run(one, min_confidence=0.9)) == {"c1", "c2"}
    assert set(run(one, quota=["1"], overwrite=True)) == {"c1"}
    other = predict("n", {"c1": 0.99, "c2": 0.4, "c3": 0.6})
    assert set(run(one, other, min_dice=0.9, overwrite=True)) == {"c1", "c3"}


def test_two_processes_write_the_bytes_of_one(world):
    member = predict("m", {"c1": 0.99, "c2": 0.97, "c3": 0.6})
    for workers in (1, 2):
        run(member, out=str(workers), workers=workers)
    for name in ("c1.nii.gz", "c3.nii.gz", "pseudolabels.json"):
        assert (world / "1" / name).read_bytes() == (world / "2" / name).read_bytes()


def test_rounds_keep_what_is_not_contradicted(world, capsys):
    run(predict("m", {"c1": 0.99, "c2": 0.99}), out="one")
    capsys.readouterr()
    again = predict("n", {"c1": 0.7, "c3": 0.99})
    found = run(again, out="two", previous=Path("one"), min_confidence=0.9)
    assert found == {"c1": [0, 1], "c2": [0, 1], "c3": [0, 1]}
    assert "round 2: 24 voxels kept, 24 new, 0 dropped, 0 flipped" in capsys.readouterr().out
    assert read_note(Path("two")).round == 2
    (Path("one") / "c2.nii.gz").unlink()
    with pytest.raises(DataError, match="1 masks are missing, such as c2"):
        run(again, out="three", previous=Path("one"))


def test_cases_of_the_split_and_copies_are_refused(world):
    shutil.copy("old/l1.nii.gz", "new/c3.nii.gz")
    shutil.copy("new/c2.nii.gz", "new/l2.nii.gz")
    member = predict("m", {"c1": 0.99, "c3": 0.99, "l2": 0.99})
    with pytest.raises(DataError, match="found 2 that are known") as fault:
        run(member)
    assert "c3: an image of it is that of the labelled case" in str(fault.value)
    assert "l2: it stands in fold 1 of splits.csv" in str(fault.value)
    assert not Path("masks").exists()
    assert set(run(member, skip_known=True)) == {"c1"}
    with pytest.raises(DataError, match="these are predictions of test cases"):
        run(predict("t", {"c1": 0.99}, part="test"), out="other")


def test_a_config_says_how_the_images_are_named(world, write_decathlon):
    root = write_decathlon(world / "Task", 2, tests=1)
    section = {"class_path": "medimg.datamodules.DecathlonDataModule", "init_args": {"root": str(root)}}
    Path("config.yaml").write_text(json.dumps({"data": section}))
    options = {"images": root, "labelled": None, "config": Path("config.yaml")}
    assert set(run(predict("m", {"fake_900": 0.99}), **options)) == {"fake_900"}
    with pytest.raises(DataError, match="fake_001: it stands in the labelled data"):
        run(predict("n", {"fake_001": 0.99}), out="other", **options)


def test_nothing_is_lost(world):
    member = predict("m", {"c1": 0.99, "c2": 0.6})
    run(member)
    before = Path("masks/c1.nii.gz").read_bytes()
    with pytest.raises(ConfigError, match="--out masks: exists already"):
        run(member)
    with pytest.raises(DataError, match=r"no case of 2 is sure enough: the surest has a confidence of 0\.99"):
        run(member, min_confidence=1.0, overwrite=True)
    assert Path("masks/c1.nii.gz").read_bytes() == before
    assert set(run(predict("n", {"c2": 0.99}), overwrite=True)) == {"c2"}  # and c1 is gone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_dice": 0.5}, "--min_dice compares members"),
        ({"min_confidence": 1.5}, "--min_confidence 1.5: expected a number in"),
        ({"positive": ["c=0.5"]}, "there is no 'c'; expected one of background, a, b"),
        ({"quota": ["a=5"]}, "there is no 'a'; expected one of cases"),
    ],
)
def test_options_that_do_not_fit_are_refused(world, options, message):
    with pytest.raises(ConfigError, match=message):
        run(predict("m", {"c1": 0.99}), **options)


def test_regions_and_classes_without_labels():
    regions = Description(("WT", "TC"), "sigmoid", {"WT": 2, "TC": 1})
    assert volume_rules(VolumeWords(["0.8", "TC=0.9"]), regions).positive == (0.8, 0.9)
    with pytest.raises(ConfigError, match=r"--positive 0\.4: expected 0\.5 or more for regions"):
        volume_rules(VolumeWords(["TC=0.4"]), regions)
    with pytest.raises(ConfigError, match="expected labels, the value of each class"):
        volume_rules(VolumeWords(), Description(("a",), "softmax"))
