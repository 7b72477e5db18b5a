import numpy as np
import pytest

from medimg.commands.postprocess_search import find_rules
from medimg.errors import DataError
from medimg.io.raster import write_png
from medimg.postprocessing.rules import RULES_FILE, Rule, read_rules


@pytest.fixture
def files(tmp_path):
    for number in range(6):
        ref = np.zeros((12, 12), np.uint8)
        ref[2:8, 2 : 6 + number % 2] = 1
        pred = ref.copy()
        pred[11, number] = 1
        write_png(tmp_path / "ref" / f"c{number}.png", ref)
        write_png(tmp_path / "pred" / f"c{number}.png", pred)
    return {path.stem: path for path in sorted((tmp_path / "pred").iterdir())}


def test_the_table_tells_before_in_sample_and_nested(files, tmp_path, capsys):
    found, own = find_rules(
        files, tmp_path / "ref", {"mass": (1,)}, {"mass": (1,)}, "brats", tmp_path / "out", 1, None
    )
    assert found == (Rule("keep_largest", "mass", (1,)),)
    assert own == dict.fromkeys(files, found)
    assert read_rules(tmp_path / "out" / RULES_FILE) == found
    lines = capsys.readouterr().out.splitlines()
    dice = np.mean([2 * n / (2 * n + 1) for n in (24, 30)])
    assert lines[0].startswith("1 of ")
    assert lines[0].endswith(" rules kept, chosen on 6 cases")
    assert (
        lines[2].split()
        == lines[3].replace("mean", "mass").split()
        == ["mass", f"{dice:.4f}", "1.0000", "1.0000"]
    )
    assert lines[4].startswith(f"honest gain in mean Dice: {1 - dice:+.4f} (95 % interval +0.0")
    assert lines[5] == "chosen without each fold: keep_largest mass"


def test_a_reference_that_is_missing_is_named(files, tmp_path):
    (tmp_path / "ref" / "c2.png").unlink()
    with pytest.raises(DataError, match="no reference for 1 of 6 predictions: c2"):
        find_rules(files, tmp_path / "ref", {"m": (1,)}, {"m": (1,)}, "brats", tmp_path / "out", 1, None)
