from dataclasses import replace

import numpy as np

from medimg.commands.explain_page import write_page
from medimg.commands.explain_write import Row
from medimg.figures.heat_map import write_heat_panel

ROW = Row(
    "g/1", "<b>mass", 0.25, "gradcam", "body.bn2", None, 2, 3, True, 0.5, 0.1, 0.9, None, None, 0.15, "", "g/mass.png"
)  # fmt: skip


def test_the_page_holds_its_pictures_and_escapes_names(tmp_path):
    write_heat_panel(tmp_path / ROW.picture, np.zeros((4, 4, 3), np.uint8))
    warned = replace(ROW, case_id="g/2", warning="nothing speaks for this answer", peak_in_reference=None)
    text = write_page(tmp_path, [ROW, warned], source="run <1>", method="gradcam").read_text()
    assert "<b>mass" not in text and "run &lt;1&gt;" in text
    assert (
        text.count('<img alt="Heat map of &lt;b&gt;mass over g/') == 2 == text.count("data:image/png;base64,")
    )
    assert "http" not in text and "<script" not in text
    assert text.count("peak in reference") == 1 and "Warning: nothing speaks for this answer." in text
