import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from medimg.figures.page_plots import COLOURS, Line, history_plot, square_plot, unique_ids

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
NAMES = {"x_name": "recall", "y_name": "precision"}


def parsed(svg):
    return ET.fromstring(svg)


def words(svg):
    return [element.text.strip() for element in parsed(svg).iter(f"{SVG}text")]


def drawn(svg, number, *, filled=False):
    """Corners of the lines, or of the areas, in a colour of the palette, each (P, 2) with y downwards."""
    inked = re.compile(rf"(?:^|; ?){'fill' if filled else 'stroke'}: var\(--c{number}, {COLOURS[number]}\)")
    root = parsed(svg)
    if filled:  # areas are defined once and then placed
        named = {path.get("id"): path for path in root.iter(f"{SVG}path")}
        paths = [
            named[use.get(LINK)[1:]] for use in root.iter(f"{SVG}use") if inked.search(use.get("style", ""))
        ]
    else:
        paths = [
            path
            for path in root.iter(f"{SVG}path")
            if path.get("clip-path") and inked.search(path.get("style"))
        ]
    down = float(root.get("viewBox").split()[3]) if filled else 0.0
    return [
        np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d")), dtype=float) + np.array([0, down])
        for path in paths
    ]


def shares(corners):
    """Places within the box of the first and last corner, y upwards."""
    x, y = corners.T
    return np.stack([(x - x[0]) / (x[-1] - x[0]), (y - y[0]) / (y[-1] - y[0])], axis=1)


def line(name="mass", **more):
    return Line(name, np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.5, 1.0]), **more)


def test_points_stand_in_proportion_and_y_points_upwards():
    (corners,) = drawn(square_plot([line()], **NAMES), 0)
    assert corners[0, 1] > corners[-1, 1] and corners[0, 0] < corners[-1, 0]
    assert shares(corners) == pytest.approx(np.array([[0, 0], [0.25, 0.5], [1, 1]]), abs=1e-3)
    width, height = np.abs(corners[-1] - corners[0])
    assert width == pytest.approx(height, rel=1e-3), "both axes are rates"


def test_a_step_holds_the_value_of_the_point_at_its_end():
    (corners,) = drawn(square_plot([line()], steps=True, **NAMES), 0)
    expected = [[0, 0], [0, 0.5], [0.25, 0.5], [0.25, 1], [1, 1]]
    assert shares(corners) == pytest.approx(np.array(expected), abs=1e-3)


def test_a_band_lies_between_its_ends_at_its_own_places():
    band = {"low": np.array([0.2, 0.4]), "high": np.array([0.6, 1.0]), "band_x": np.array([0.5, 1.0])}
    svg = square_plot([line(**band)], **NAMES)
    (corners,) = drawn(svg, 0)
    (area,) = drawn(svg, 0, filled=True)
    places = (area - corners[0]) / (corners[-1] - corners[0])
    found = {(round(float(x), 2), round(float(y), 2)) for x, y in places}
    assert found == {(0.5, 0.2), (0.5, 0.6), (1.0, 0.4), (1.0, 1.0)}
    assert re.search(r"(fill-)?opacity: 0\.15", svg)


def test_places_without_a_band_are_left_out():
    """Bins in which most resamples have no case."""
    band = {
        "low": np.array([np.nan, 0.4, 0.5]),
        "high": np.array([np.nan, 0.8, 0.9]),
        "band_x": np.array([0.1, 0.5, 1.0]),
    }
    svg = square_plot([line(**band)], **NAMES)
    assert "nan" not in svg.lower()
    (area,) = drawn(svg, 0, filled=True)
    (corners,) = drawn(svg, 0)
    assert area[:, 0].min() > corners[0, 0] + 0.4 * (corners[-1, 0] - corners[0, 0])


def test_dots_grow_with_their_cases():
    svg = square_plot([line(dots=np.array([0.0, 0.5, 1.0]))], **NAMES)
    collection = next(g for g in parsed(svg).iter(f"{SVG}g") if g.get("id", "").startswith("PathCollection"))
    widths = []
    for path in collection.iter(f"{SVG}path"):
        numbers = np.array(re.findall(r"-?\d+(?:\.\d+)?", path.get("d")), dtype=float)
        widths.append(np.ptp(numbers[::2]))
    assert len(widths) == 3 and widths[0] < widths[1] < widths[2]
    # Area and not width stands for the number: 8 and 78 square points.
    assert (widths[2] / widths[0]) ** 2 == pytest.approx(78 / 8, rel=0.05)


def test_words_stay_words_in_the_letters_and_the_ink_of_the_page():
    svg = square_plot([line("mass <3 cm & more"), line("cyst")], **NAMES)
    assert {"recall", "precision", "mass <3 cm & more", "cyst", "0.0", "1.0"} <= set(words(svg))
    assert "font-family" not in svg and "<style" not in svg and "<metadata" not in svg
    assert "currentColor" in svg and "var(--faint" in svg
    assert not re.search(r"#0[12]0[23]0[3]|#040506", svg), "a stand-in for a colour is left"
    assert all(re.search(r"font-size: ?[\d.]+px", text) for text in re.findall(r"<text[^>]*>", svg))


def test_a_plot_has_no_ground_of_its_own_and_is_silent_to_screen_readers():
    root = parsed(square_plot([line()], **NAMES))
    assert root.get("aria-hidden") == "true" and root.get("focusable") == "false"
    assert root.get("viewBox").startswith("0 0 ") and root.get("height") is None
    ground = next(g for g in root.iter(f"{SVG}g") if g.get("id") == "patch_1").find(f"{SVG}path")
    assert re.search(r"fill: none|opacity: 0(;|$)", ground.get("style"))


def test_one_line_needs_no_legend_and_chance_is_dotted_where_asked():
    plain, chance = square_plot([line()], **NAMES), square_plot([line()], diagonal=True, **NAMES)
    assert "mass" not in words(plain)
    assert "stroke-dasharray" not in plain and "stroke-dasharray" in chance


def test_past_six_lines_the_colours_come_again_with_dashes():
    svg = square_plot([line(f"label {number}") for number in range(7)], **NAMES)
    assert [len(drawn(svg, number)) for number in range(6)] == [2, 1, 1, 1, 1, 1]
    assert re.search(r"stroke-dasharray: [^;]+; stroke-dashoffset: 0; stroke: var\(--c0", svg)


def test_epochs_are_counted_from_one_and_folds_share_a_colour():
    epochs = np.arange(20.0)
    svg = history_plot(
        {"val/loss": [(epochs, 1 / (1 + epochs)), (epochs, 2 / (1 + epochs))], "val/dice": [(epochs, epochs / 20)]},
        y_name="score",
    )  # fmt: skip
    assert [len(drawn(svg, number)) for number in (0, 1)] == [2, 1]
    assert words(svg).count("val/loss") == 1 and {"val/dice", "epoch", "score"} <= set(words(svg))
    ticks = [int(word) for word in words(svg) if re.fullmatch(r"\d+", word)]
    assert 20 in ticks or max(ticks) >= 16
    (rising,) = drawn(svg, 1)
    assert shares(rising)[:, 1] == pytest.approx(epochs / 19, abs=1e-3)


@pytest.mark.parametrize("epoch", [0.0, 27.0])
def test_one_epoch_is_a_point_that_can_be_seen(epoch):
    svg = history_plot({"train/loss": [(np.array([epoch]), np.array([0.7]))]}, y_name="loss")
    assert "<use" in svg
    assert str(int(epoch) + 1) in words(svg)
    assert not any("." in word for word in words(svg) if word.startswith(str(int(epoch) + 1))), (
        "epochs are whole"
    )


def test_the_same_numbers_give_the_same_file():
    assert square_plot([line()], **NAMES) == square_plot([line()], **NAMES)


def test_two_drawings_of_a_page_share_no_name():
    svg = square_plot([line(dots=np.ones(3))], diagonal=True, **NAMES)
    page = "".join(unique_ids(svg, prefix) for prefix in ("f0-", "f1-"))
    names = re.findall(r'\bid="([^"]+)"', page)
    asked = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert len(names) == len(set(names)) and asked
    assert set(asked) <= set(names)
    assert "xlink:href" not in page
