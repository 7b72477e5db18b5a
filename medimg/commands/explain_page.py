"""The page of ``medimg explain``: every picture with its numbers, in one file."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from medimg.commands.explain_write import Row
from medimg.io.files import atomic_write

_STYLE = """
body { margin: 0 auto; max-width: 1040px; padding: 16px; background: #101010; color: #e6e6e6;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 4px; } h2 { font-size: 1.1rem; margin: 32px 0 8px; overflow-wrap: anywhere; }
p { margin: 4px 0; } .faint { color: #a8a8a8; } .warning { color: #f0c040; }
img { max-width: 100%; height: auto; border: 1px solid #2e2e2e; }
dl { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 8px 0; } dl div { display: flex; gap: 8px; }
dt { color: #a8a8a8; } dd { margin: 0; font-variant-numeric: tabular-nums; }
"""


def write_page(out: Path, rows: Sequence[Row], *, source: str, method: str) -> Path:
    """Write ``index.html``, which needs no other file; pictures are read one at a time."""
    path = out / "index.html"
    with atomic_write(path, durable=False) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>Heat maps: {escape(method)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>Heat maps by {escape(method)}</h1>\n"
            f'<p class="faint">{escape(source)}. Warm places speak for the answer. A heat map shows what a network '
            "uses, and is no evidence of disease.</p>\n"
        )
        for row in rows:
            picture = base64.b64encode((out / row.picture).read_bytes()).decode()
            alt = f"Heat map of {row.label} over {row.case_id}, probability {row.probability:.3f}"
            file.write(
                f"<section>\n<h2>{escape(row.case_id)}: {escape(row.label)}</h2>\n"
                f'<img alt="{escape(alt)}" src="data:image/png;base64,{picture}">\n{_facts(row)}'
            )
            if row.warning:
                file.write(f'<p class="warning">Warning: {escape(row.warning)}.</p>\n')
            file.write("</section>\n")
        file.write("</main>\n</body>\n</html>\n")
    return path


def _facts(row: Row) -> str:
    peak = [str(place) for place in (row.peak_d, row.peak_h, row.peak_w) if place is not None]
    known = {
        "probability": f"{row.probability:.3f}",
        "peak at": " ".join(peak),
        "peak in reference": None
        if row.peak_in_reference is None
        else ("yes" if row.peak_in_reference else "no"),
        "heat in reference": None if row.heat_in_reference is None else f"{row.heat_in_reference:.0%}",
        "deletion area": None if row.deletion_area is None else f"{row.deletion_area:.3f}",
        "insertion area": None if row.insertion_area is None else f"{row.insertion_area:.3f}",
        "completeness error": None if row.completeness_error is None else f"{row.completeness_error:.2%}",
        "correlation with random weights": None
        if row.random_correlation is None
        else f"{row.random_correlation:.2f}",
        "layer": row.layer or None,
    }
    cells = [f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in known.items() if value]
    return f"<dl>{''.join(cells)}</dl>\n"
