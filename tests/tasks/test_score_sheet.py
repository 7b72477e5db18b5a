import json
import logging
import math

import numpy as np
import pytest
import torch.multiprocessing as mp
from torch import distributed

from medimg.errors import DataError
from medimg.scoring.table import read_per_case
from medimg.tasks.score_sheet import ScoreSheet


def row(number, dice=None):
    value = number / 10 if dice is None else dice
    return {"case_id": f"c{number}", "patient_id": f"p{number // 2}", "dice_a": value, "dice_b": 1 - value}


def test_the_summary_is_that_of_the_written_rows(tmp_path, caplog):
    sheet = ScoreSheet()
    for number in (3, 1, 2):
        sheet.add(row(number))
    with caplog.at_level(logging.INFO):
        summary = sheet.finish(tmp_path, "fold 0", {"empty": "brats"})
    rows = read_per_case(tmp_path / "per_case.csv")
    assert [found["case_id"] for found in rows] == ["c1", "c2", "c3"]
    assert summary["metrics"]["dice"]["a"]["mean"] == pytest.approx(np.mean([r["dice_a"] for r in rows]))
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["settings"] == {"empty": "brats"}
    assert stored["metrics"]["dice"]["b"]["mean"] == pytest.approx(0.8)
    assert (stored["n_cases"], stored["n_patients"]) == (3, 2)
    assert "fold 0" in caplog.text
    assert str(tmp_path / "per_case.csv") in caplog.text


def test_left_out_cases_are_counted(tmp_path):
    sheet = ScoreSheet()
    for number in range(3):
        sheet.add(row(number, math.nan if number == 1 else 0.5))
    summary = sheet.finish(tmp_path, "t", {})
    found = summary["metrics"]["dice"]["a"]
    assert (found["n"], found["n_left_out"], found["mean"]) == (2, 1, 0.5)


def test_nothing_scored_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no case was scored"):
        ScoreSheet().finish(tmp_path, "t", {})


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)

    def gather(parts, own):
        parts[:] = [own, [row(5)]]

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    for rank in (1, 0):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        sheet = ScoreSheet()
        sheet.add(row(1))
        found = sheet.finish(tmp_path, "t", {})
        assert (found is not None) == (rank == 0) == (tmp_path / "per_case.csv").exists()
    assert found["n_cases"] == 2


def share(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    sheet = ScoreSheet()
    for number in range(rank, 7, 2):
        sheet.add(row(number))
    if rank == 1:
        sheet.add(row(0))  # a case that both processes scored
    summary = sheet.finish(folder / "two", "t", {})
    assert (summary is None) == (rank == 1)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_rows_of_two_processes_are_gathered(tmp_path):
    mp.spawn(share, args=(tmp_path,), nprocs=2)
    sheet = ScoreSheet()
    for number in range(7):
        sheet.add(row(number))
    sheet.finish(tmp_path / "one", "t", {})
    for name in ("per_case.csv", "summary.json"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()
