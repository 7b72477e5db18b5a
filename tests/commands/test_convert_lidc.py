from pathlib import Path

import pytest

from medimg.commands.convert_lidc import convert_lidc_set
from medimg.errors import DataError
from medimg.phantoms.lidc import write_lidc


def test_a_conversion_tells_what_it_found_and_the_next_step(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "two words"
    write_lidc(raw, cases=2, seed=1, size=(24, 64, 64))
    broken = next(raw.glob("LIDC-IDRI-9002/*/*"))
    for number in (9, 10, 11):
        (broken / f"{number:04d}.dcm").unlink()
    assert convert_lidc_set(raw, raw, out, min_readers=1, crop=0, on_bad="skip") == 0
    shown = capsys.readouterr().out
    assert "left out: LIDC-IDRI-9002-9002: " in shown
    assert "1 scans, " in shown
    assert shown.endswith(f"next: medimg fit --config configs/lidc.yaml --data.root '{out}'\n")


def test_without_annotations_nothing_is_written(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="expected CT series of LIDC-IDRI with their XML"):
        convert_lidc_set(tmp_path / "raw", tmp_path / "raw", Path(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
