import json
import logging

from medimg.scoring.targets import Target, target_row
from medimg.tasks.target_sheet import report_targets


def test_the_summary_is_written_and_shown(tmp_path, caplog):
    caplog.set_level(logging.INFO, "medimg")
    targets = [Target("diameter_mm", "regression", unit="mm")]
    rows = [target_row(n, n, targets, [p], [8.0]) for n, p in (("a", 7.0), ("b", 10.0))]
    report_targets(
        tmp_path, "fold 0", rows, targets, settings={"tta": []}, constants={"diameter_mm": 6.0}, resamples=5
    )
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["title"] == "fold 0"
    assert content["settings"] == {"tta": [], "training_means": {"diameter_mm": 6.0}}
    values = content["targets"]["diameter_mm"]["values"]
    assert (values["mae"]["diameter_mm"]["mean"], values["mae_of_mean"]["diameter_mm"]["mean"]) == (1.5, 2.0)
    assert values["r2"]["diameter_mm"]["mean"] is None  # the truth is constant
    assert "diameter_mm   MAE mm" in caplog.text
