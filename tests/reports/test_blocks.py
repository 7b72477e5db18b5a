from medimg.reports.blocks import Chapter, interval


def test_an_anchor_is_never_empty_and_holds_no_odd_letters():
    assert Chapter("a/b_c (1)", ()).anchor == "a-b-c-1"
    assert Chapter("***", ()).anchor == "run"


def test_a_score_without_an_interval_stands_alone():
    nan = float("nan")
    assert interval(0.5, nan, nan) == "0.500"
    assert interval(-3.21, -4, -2) == "-3.21 [-4.00, -2.00]"
