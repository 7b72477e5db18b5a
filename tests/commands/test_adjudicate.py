import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from medimg.commands.adjudicate import adjudicate
from medimg.commands.parser import call
from medimg.commands.word_lists import WordListParser
from medimg.curation.worklists import code_of
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image
from medimg.io.nrrd_read import read_seg_nrrd

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
THIRD = code_of("carla", 0)


def run(*words):
    return call(WordListParser, adjudicate, [str(word) for word in words], prog="medimg adjudicate")


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(path, values):
    table = rows(path)
    for row in table:
        row |= values(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture
def desks(tmp_path):
    """Eight cases, two labels, read by two: anna says 1, ben too but for case 0; grades differ by the number."""
    (tmp_path / "cases.csv").write_text(
        "case_id,patient_id\n" + "".join(f"c{n},p{n // 2}\n" for n in range(8))
    )
    words = ["--readers", "anna,ben", "--third", "carla", "--labels", "mass,grade"]
    run("plan", tmp_path / "cases.csv", *words, "--out", tmp_path / "plan")
    for name in ("anna", "ben"):
        path = tmp_path / "plan" / code_of(name, 0) / "worklist.csv"
        fill(
            path,
            lambda row, ben=name == "ben": {
                "mass": "no" if ben and row["case_id"] == "c0" else "yes",
                "grade": str(1 + ben * (row["case_id"] in ("c1", "c2")) * int(row["case_id"][1])),
            },
        )
    return [tmp_path / "plan" / code_of(name, 0) / "worklist.csv" for name in ("anna", "ben")]


def test_labels_from_plan_to_table(tmp_path, desks, capsys):
    assert all("anna" not in str(path) and "anna" not in path.read_text() for path in desks)
    assert [row["case_id"] for row in rows(desks[0])] != [row["case_id"] for row in rows(desks[1])]
    found, out = tmp_path / "found", tmp_path / "out"
    rule = ["--rule", "differs"]
    run("conflicts", *desks, "--third", "carla", "--out", found, *rule)
    assert "8 cases: 3 in conflict by 'differs', 0 with fewer" in capsys.readouterr().out
    work = found / THIRD / "worklist.csv"
    shown = {row["case_id"]: row for row in rows(work)}
    assert sorted(shown) == ["c0", "c1", "c2"]
    assert {shown["c0"]["answer_A_mass"], shown["c0"]["answer_B_mass"]} == {"yes", "no"}
    assert not any(code_of(name, 0) in work.read_text() for name in ("anna", "ben"))
    with pytest.raises(DataError, match=r"3 in conflict lack one \(c0, c1, c2\)"):
        run("apply", found, "--out", out)
    assert not out.exists()
    fill(work, lambda row: {"mass": "no"} if row["case_id"] == "c0" else {"grade": "2"})
    run("apply", found, "--out", out)
    table = {row["case_id"]: row for row in rows(out / "labels.csv")}
    assert len(table) == 8
    assert table["c0"] == {
        "case_id": "c0", "patient_id": "p0", "mass": "no", "grade": "1", "decided_by": "adjudication",
    }  # fmt: skip
    assert (table["c2"]["grade"], table["c3"]["decided_by"]) == ("2", "agreement")
    trail = json.loads((out / "trail.json").read_text())
    assert trail["cases"][0]["decided_by"] == {"mass": "third", "grade": "agreement"}
    assert (trail["rule"], trail["third"], len(trail["readings"])) == ("differs", "carla", 2)
    assert len(trail["decisions"]["sha256"]) == 64
    before = (out / "trail.json").read_bytes()
    run("apply", found, "--out", out)
    assert "nothing has changed" in capsys.readouterr().out
    assert (out / "trail.json").read_bytes() == before


def test_a_worklist_that_was_only_saved_again_changes_nothing(tmp_path, desks, capsys):
    found, out = tmp_path / "found", tmp_path / "out"
    run("conflicts", *desks, "--third", "carla", "--out", found)
    assert "  mass: no 1, yes 15\n" in capsys.readouterr().out
    work = found / THIRD / "worklist.csv"
    fill(work, lambda row: {"mass": "no", "grade": "2"})
    run("apply", found, "--out", out)
    for path in (work, *desks):
        os.utime(path, (1e9, 1e9))
    fill(work, lambda row: {"grade": "2.0"})
    run("apply", found, "--out", out)
    assert "nothing has changed" in capsys.readouterr().out


def test_a_misspelt_answer_becomes_no_label(tmp_path, desks, capsys):
    found, out = tmp_path / "found", tmp_path / "out"
    run("conflicts", *desks, "--third", "carla", "--out", found)
    work = found / THIRD / "worklist.csv"
    fill(work, lambda row: {"mass": "yess" if row["case_id"] == "c0" else "no", "grade": "two"})
    with pytest.raises(DataError) as caught:
        run("apply", found, "--out", out)
    for words in (f"{work}: found values", "mass 'yess' of case c0 (expected no or yes; the nearest is yes)",
                  "grade 'two' of case c1 (expected a number)"):  # fmt: skip
        assert words in str(caught.value)
    assert not out.exists()
    # A value that nobody used has to be named, and then holds for all readers.
    named = ["--labels", "mass=no|yes|yess,grade=1|2|3"]
    run("conflicts", *desks, "--third", "carla", "--out", found, "--overwrite", *named)
    fill(work, lambda row: {"mass": "yess", "grade": "3.0"})
    run("apply", found, "--out", out)
    assert {(row["mass"], row["grade"]) for row in rows(out / "labels.csv")[:3]} == {("yess", "3")}
    fill(work, lambda row: {"grade": "4"})
    with pytest.raises(DataError, match=r"grade '4' of case c\d \(expected 1, 2 or 3"):
        run("apply", found, "--out", tmp_path / "other")
    fill(desks[1], lambda row: {"mass": "ye" if row["case_id"] == "c5" else row["mass"]})
    with pytest.raises(DataError, match=r"worklist\.csv, reader .*mass 'ye' of case c5 .*the nearest is yes"):
        run("conflicts", *desks, "--third", "carla", "--out", tmp_path / "again", *named)
    assert not (tmp_path / "again").exists()


def test_a_plan_hands_on_the_values_of_its_labels(tmp_path, desks, capsys):
    words = ["--readers", "anna,ben", "--third", "carla", "--labels", "mass=no|yes,notes"]
    run("plan", tmp_path / "cases.csv", *words, "--out", tmp_path / "named")
    assert "--labels 'mass=no|yes,notes' --third carla" in capsys.readouterr().out
    assert list(rows(tmp_path / "named" / code_of("anna", 0) / "worklist.csv")[0])[-2:] == ["mass", "notes"]
    assert json.loads((tmp_path / "named" / "plan.json").read_text())["labels"] == {
        "mass": ["no", "yes"],
        "notes": [],
    }


def test_grades_within_the_distance_agree(tmp_path, desks):
    found = tmp_path / "found"
    run(
        "conflicts",
        *desks,
        "--third",
        "carla",
        "--out",
        found,
        "--labels",
        "grade",
        "--rule",
        "distance>1",
        "--hide_answers",
    )
    (row,) = rows(found / THIRD / "worklist.csv")
    assert row == {"case_id": "c2", "reader": THIRD, "grade": ""}
    run("apply", found, "--out", tmp_path / "out", "--leave_out")
    table = {row["case_id"]: row["grade"] for row in rows(tmp_path / "out" / "labels.csv")}
    assert ("c2" in table, table["c1"]) == (False, "1")  # of 1 and 2 the lower middle one


def test_double_and_changed_decisions_write_nothing(tmp_path, desks):
    found, out = tmp_path / "found", tmp_path / "out"
    run("conflicts", *desks, "--third", "carla", "--out", found)
    work = found / THIRD / "worklist.csv"
    fill(work, lambda row: {"mass": "no", "grade": "3"})
    whole = work.read_text()
    work.write_text(whole + f"c0,{THIRD},yes,3,,,,\nc7,{THIRD},yes,1,,,,\n")
    with pytest.raises(DataError, match="decided twice: c0; not in conflict: c7"):
        run("apply", found, "--out", out)
    work.write_text(whole)
    run("apply", found, "--out", out)
    fill(work, lambda row: {"mass": "yes"})
    with pytest.raises(DataError, match="holds other decisions"):
        run("apply", found, "--out", out)
    old = (out / "labels.csv").read_bytes()
    run("apply", found, "--out", out, "--overwrite")
    assert (tmp_path / "out.before-1" / "labels.csv").read_bytes() == old != (out / "labels.csv").read_bytes()
    fill(desks[0], lambda row: {"mass": "no"})
    with pytest.raises(DataError, match="has changed since conflicts were looked for"):
        run("apply", found, "--out", out)
    with pytest.raises(DataError, match="conflicts first"):
        run("apply", tmp_path, "--out", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--third", "anna"], "has read cases as one of the first two"),
        (["--third", "carla", "--rule", "dice<0.8"], "dice and lesion are for masks"),
    ],
)
def test_what_does_not_fit_labels(tmp_path, desks, words, message):
    with pytest.raises(ConfigError, match=message):
        run("conflicts", *desks, *words, "--out", tmp_path / "found")
    with pytest.raises(ConfigError, match="one of them"):
        run("plan", tmp_path / "cases.csv", "--readers", "a,b", "--third", "c", "--out", tmp_path / "p")


def box(size):
    mask = np.zeros((4, 8, 8), np.uint8)
    mask[1:3, 1:5, 1 : 1 + size] = 1
    return mask


def test_masks_from_plan_to_folder(tmp_path, capsys):
    images, found, out = tmp_path / "images", tmp_path / "found", tmp_path / "out"
    for case in ("c1", "c2", "c3"):
        write_image(images / f"{case}.nii.gz", box(1), AFFINE)
    words = ["--readers", "anna,ben", "--third", "carla", "--masks", "lump=1"]
    for shown in ("3 cases, 2 readers", "nothing has changed"):
        run("plan", images, *words, "--out", tmp_path / "plan")
        assert shown in capsys.readouterr().out
    assert ".tmp-" not in next((tmp_path / "plan").rglob("*.itksnap")).read_text()
    desks = [tmp_path / "plan" / code_of(name, 0) for name in ("anna", "ben")]
    assert read_seg_nrrd(desks[0] / "slicer" / "c1.seg.nrrd").segments[0].name == "lump"
    sizes = {"c1": (5, 4), "c2": (6, 2), "c3": (6, 1)}  # Dice 0.89, 0.5, 0.29
    for case, pair in sizes.items():
        for desk, size in zip(desks, pair, strict=True):
            write_image(desk / "masks" / f"{case}.nii.gz", box(size), AFFINE)
    more = ["--images", images, "--masks", "lump=1", "--third", "carla", "--rule", "dice<0.8 or lesion"]
    run("conflicts", *desks, *more, "--out", found)
    assert "3 cases: 2 in conflict" in capsys.readouterr().out
    desk = found / THIRD
    assert sorted(path.name for path in (desk / "answers").iterdir()) == [
        f"{case}_{letter}.nii.gz" for case in ("c2", "c3") for letter in "AB"
    ]
    answers = {letter: read_mask(desk / "answers" / f"c2_{letter}.nii.gz").sum() for letter in "AB"}
    assert sorted(answers.values()) == [16, 48]
    with pytest.raises(DataError, match=r"2 in conflict lack one \(c2, c3\)"):
        run("apply", found, "--out", out)
    fill(desk / "worklist.csv", lambda row: {"choice": "a" if row["case_id"] == "c2" else ""})
    write_image(desk / "masks" / "c3.nii.gz", box(3), AFFINE)
    run("apply", found, "--out", out)
    sums = {path.name[:2]: int(read_mask(path).sum()) for path in sorted((out / "masks").iterdir())}
    assert sums == {"c1": 40, "c2": answers["A"], "c3": 24}
    trail = json.loads((out / "trail.json").read_text())
    assert [one["decided_by"] for one in trail["cases"]] == ["agreement", "third", "third"]
    assert trail["cases"][1]["decision"] == "A"
    assert Path(trail["cases"][2]["decision"]["file"]).name == "c3.nii.gz"
    run("apply", found, "--out", out)
    assert "nothing has changed" in capsys.readouterr().out
    write_image(desk / "masks" / "c2.nii.gz", box(3), AFFINE)
    with pytest.raises(DataError, match="both: c2"):
        run("apply", found, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_masks_that_do_not_fit(tmp_path):
    write_image(tmp_path / "images" / "c1.nii.gz", box(1), AFFINE)
    for name in ("anna", "ben"):
        write_image(tmp_path / name / "c1.nii.gz", box(2), AFFINE)
    folders, words = [tmp_path / "anna", tmp_path / "ben"], ["--third", "carla", "--out", tmp_path / "found"]
    with pytest.raises(ConfigError, match="--images DIR --masks"):
        run("conflicts", *folders, *words)
    words += ["--images", tmp_path / "images", "--masks", "lump=1"]
    with pytest.raises(ConfigError, match="distance is for labels"):
        run("conflicts", *folders, *words, "--rule", "distance>1")
    with pytest.raises(ConfigError, match="of another name"):
        run("conflicts", folders[0], folders[0], *words)
    write_image(tmp_path / "ben" / "c9.nii.gz", box(2), AFFINE)
    with pytest.raises(DataError, match="masks of c9 have no image"):
        run("conflicts", *folders, *words)
    (tmp_path / "ben" / "c9.nii.gz").unlink()
    write_image(tmp_path / "ben" / "c1.nii.gz", box(2)[::-1], AFFINE * [1, 1, -1, 1])
    with pytest.raises(DataError, match="flipped or turned"):
        run("conflicts", *folders, *words)
    (tmp_path / "ben" / "c1.nii").write_bytes(b"")
    with pytest.raises(DataError, match="stands twice"):
        run("conflicts", *folders, *words)


def test_masks_of_which_none_is_decided_are_refused(tmp_path):
    write_image(tmp_path / "images" / "c1.nii.gz", box(1), AFFINE)
    for name, size in (("anna", 6), ("ben", 1)):
        write_image(tmp_path / name / "c1.nii.gz", box(size), AFFINE)
    words = ["--third", "carla", "--images", tmp_path / "images", "--masks", "lump=1", "--rule", "dice<0.8"]
    run("conflicts", tmp_path / "anna", tmp_path / "ben", *words, "--out", tmp_path / "found")
    with pytest.raises(DataError, match="no case is decided"):
        run("apply", tmp_path / "found", "--out", tmp_path / "out", "--leave_out")
    assert not (tmp_path / "out").exists()
