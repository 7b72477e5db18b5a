"""One call of ``medimg explain``: cases one by one, so that memory is that of one case."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medimg.commands.explain_cases import CaseInput, Cases
from medimg.commands.explain_page import write_page
from medimg.commands.explain_task import Subject, image_weights, subjects_of
from medimg.commands.explain_write import Row, draw, make_row, write_case, write_table
from medimg.explain import Curve, Explanation, Settings, deletion_insertion, randomised, rank_correlation
from medimg.explain.pixels import make_baseline
from medimg.runs import from_here

_RANDOM_NETWORKS = 3  # one alone may be alike by chance


@dataclass(frozen=True)
class Job:
    """What is made of every case.

    Attributes:
        out: Folder to write.
        settings: How cases are explained.
        labels: Which labels or regions; ``None`` takes those of the answer.
        curve_steps: Steps of deletion and insertion; 0 leaves them out.
        sanity: Whether maps are compared with those of random weights.
        channel: Channel of the image that is drawn.
        save_as: Format of the heat maps of volumes.
        tensorboard: Whether pictures are written as TensorBoard events too.
    """

    out: Path
    settings: Settings
    labels: Sequence[str] | None
    curve_steps: int
    sanity: bool
    channel: int
    save_as: Literal["nifti", "seg.nrrd"]
    tensorboard: bool

    def run(self, task: Any, cases: Cases, *, source: str, device: Literal["auto", "cpu"]) -> list[Row]:
        """Explain every case, and write all; returns the lines of the table."""
        at = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
        task = task.to(at).requires_grad_(False)
        others = [randomised(task, seed) for seed in range(_RANDOM_NETWORKS)] if self.sanity else []
        rows: list[Row] = []
        with closing(_board(self.out)) if self.tensorboard else nullcontext() as board:
            for number, case in enumerate(cases.read(at), start=1):
                rows += self._case(task, others, case, board)
                print(f"{number}/{len(cases)} {case.case_id}", flush=True)
        write_table(self.out, rows)
        write_page(self.out, rows, source=source, method=self.settings.method)
        return rows

    def _case(self, task: Any, others: Sequence[Any], case: CaseInput, board: Any) -> list[Row]:
        rows = []
        method = self.settings.method
        weights = None if case.sizes is None else image_weights(task, case.image)
        for subject in subjects_of(task, case.image, case.sizes, self.labels):
            found = subject.explain(task, self.settings)
            curve = self._curve(subject, found, grouped=case.sizes is not None) if self.curve_steps else None
            alike = [
                abs(rank_correlation(found.signed, subject.explain(other, self.settings).signed))
                for other in others
            ]
            random = float(np.mean(alike)) if alike else None
            row = make_row(case, subject, found, method=method, curve=curve, random=random)
            panel = draw(case, subject, found, method=method, channel=self.channel, weights=weights)
            write_case(self.out, case, row, found, panel, curve=curve, weights=weights, save_as=self.save_as)
            if board is not None:
                name = f"explain/{row.picture.removesuffix('.png')}"
                board.add_image(name, panel, 0, dataformats="HWC")
            rows.append(row)
        return rows

    def _curve(self, subject: Subject, found: Explanation, *, grouped: bool) -> Curve:
        baseline = make_baseline(subject.case, subject.dims, self.settings.baseline)
        batch = 1 if subject.dims == 3 or grouped else self.settings.batch
        return deletion_insertion(
            subject.probs, subject.case, baseline, found.heat, steps=self.curve_steps, batch=batch
        )


def _board(out: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "tensorboard"))


def summarise(rows: Sequence[Row], folder: Path, *, cases: int, left_out: int) -> list[str]:
    """Lines to print: what was found, and where to look next.

    Args:
        rows: Lines of the table.
        folder: Where it was written.
        cases: Cases that were looked at.
        left_out: Cases that the limit left out.
    """
    lines = [
        f"{len(rows)} heat maps of {cases} cases" + (f"; --limit left out {left_out}" if left_out else "")
    ]
    hits = [row.peak_in_reference for row in rows if row.peak_in_reference is not None]
    if hits:
        lines.append(f"hottest place inside the reference: {sum(hits)} of {len(hits)}")
    for words, values in (
        ("mean deletion area (small is faithful)", [row.deletion_area for row in rows]),
        ("mean insertion area (large is faithful)", [row.insertion_area for row in rows]),
        ("mean rank correlation with random weights (below 0.2)", [row.random_correlation for row in rows]),
        ("largest completeness error (at most 0.01)", [row.completeness_error for row in rows]),
    ):
        known = [value for value in values if value is not None]
        if known:
            number = max(known) if words.startswith("largest") else sum(known) / len(known)
            lines.append(f"{words}: {number:.3f}")
    if warned := [row for row in rows if row.warning]:
        lines.append(
            f"WARNING: {len(warned)} heat maps, such as that of {warned[0].case_id}: {warned[0].warning}"
        )
    page = from_here(folder / "index.html")
    return [*lines, "", f"written: {from_here(folder)}", f"next: open {page} in a browser"]
