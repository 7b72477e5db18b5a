import pytest

from medimg.reports.config_parts import Part, all_parts, as_group, as_number, as_part

NETWORK = {"class_path": "a.b.Net", "init_args": {"size": [2, 3], "depth": 4, "weights": None, "on": True}}


def test_arguments_by_their_kind():
    part = as_part(NETWORK)
    assert (part.path, part.name, part.package) == ("a.b.Net", "Net", "a")
    assert (part.items("size"), part.number("depth"), part.text("depth"), part.items("depth")) == (
        [2, 3],
        4,
        "",
        [],
    )
    assert (part.number("on"), part.number("none"), part.text("weights")) == (None, None, "")
    assert part.part("weights") is None
    assert part.group("weights") == {}


@pytest.mark.parametrize("value", [None, 3, "", [], {}, {"class_path": None}, {"init_args": {}}])
def test_what_names_no_class(value):
    assert as_part(value) is None
    assert list(all_parts(value)) == []


def test_parts_are_found_at_any_depth():
    config = {
        "model": {"class_path": "t.Task", "init_args": {"network": NETWORK, "branches": {"x": NETWORK}}}
    }
    callbacks = {"trainer": {"callbacks": [{"class_path": "EMA", "init_args": None}]}}
    assert [one.name for one in all_parts({**config, **callbacks})] == ["Task", "Net", "Net", "EMA"]
    assert Part("EMA") == as_part({"class_path": "EMA", "init_args": None})


def test_values_of_another_kind():
    assert (as_group(None), as_group({"a": 1}), as_number(0.5), as_number(None)) == ({}, {"a": 1}, 0.5, None)
