"""How far readers agree, printed and written: tables, and a picture of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medimg.curation.agreement import AgreementRow, Bootstrap

TABLE, PAIRS = "agreement.csv", "pairs.csv"
_PRINTED_PAIRS = 12


def report(
    everyone: Sequence[AgreementRow],
    pairs: Sequence[AgreementRow],
    out: Path,
    readers: Sequence[str],
    measure: str,
    bootstrap: Bootstrap,
) -> None:
    """Write tables and pictures, and print the tables, of pairs only where they are few.

    Args:
        everyone: A row a label, of all readers together.
        pairs: A row a label and pair of readers; none where readers have no names.
        out: Folder of ``agreement.csv``, ``pairs.csv`` and their pictures.
        readers: Names, in the order of the picture.
        measure: Figure that the picture of the pairs shows.
        bootstrap: How the intervals were made.
    """
    import numpy as np

    from medimg.curation.agreement import TITLES, format_agreement, write_agreement
    from medimg.figures.agreement import agreement_panel, pairs_panel
    from medimg.io.raster import write_png

    print(format_agreement(everyone))
    print(
        f"[{bootstrap.level:.0%} intervals of {bootstrap.resamples} resamples of patients, seed {bootstrap.seed}]"
    )
    write_agreement(out / TABLE, everyone)
    shown = {
        row.label: {TITLES[name]: one for name, one in row.figures.items() if name != "hd95"}
        for row in everyone
    }
    panel = agreement_panel(shown, title=f"Agreement of {len(readers)} readers")
    write_png(out / "agreement.png", np.moveaxis(panel, -1, 0))
    if not pairs:
        return
    write_agreement(out / PAIRS, pairs)
    if len(pairs) <= _PRINTED_PAIRS:
        print(format_agreement(pairs))
    else:
        print(f"{len(pairs)} pairs of readers by label in {out / PAIRS}")
    table: dict[tuple[int, int], list[float]] = {}
    place = {name: number for number, name in enumerate(readers)}
    for row in pairs:
        value = row.figures[measure][0]
        if not np.isnan(value):
            table.setdefault((place[row.readers[0]], place[row.readers[1]]), []).append(value)
    values = np.full((len(readers), len(readers)), np.nan)
    for (a, b), several in table.items():
        values[a, b] = values[b, a] = np.mean(several)
    name = TITLES[measure] + (", mean over labels" if len(everyone) > 1 else "")
    panel = pairs_panel(values, readers, measure=name, title="Readers two by two")
    write_png(out / "pairs.png", np.moveaxis(panel, -1, 0))
