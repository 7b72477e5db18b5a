from pathlib import Path

from medimg.commands.explain_job import summarise
from medimg.commands.explain_write import Row


def row(case, peak, deletion, completeness=None, random=None, warning=""):
    return Row(
        case, "mass", 0.9, "gradcam", "body", None, 1, 1, peak, None, deletion, None, completeness, None, random,
        warning, f"{case}/mass.png",
    )  # fmt: skip


def test_the_summary_counts_peaks_and_takes_the_worst_completeness():
    rows = [
        row("a", True, 0.2, 0.001),
        row("b", False, 0.4, 0.02, warning="misses 2 %"),
        row("c", None, None),
    ]
    lines = summarise(rows, Path("out"), cases=3, left_out=4)
    assert lines[0] == "3 heat maps of 3 cases; --limit left out 4"
    assert "hottest place inside the reference: 1 of 2" in lines
    assert "mean deletion area (small is faithful): 0.300" in lines
    assert "largest completeness error (at most 0.01): 0.020" in lines
    assert "WARNING: 1 heat maps, such as that of b: misses 2 %" in lines
    assert not any("insertion" in line or "random" in line for line in lines)
    assert lines[-1] == "next: open out/index.html in a browser"
