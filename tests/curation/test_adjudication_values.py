import pytest

from medimg.curation.adjudication_values import canonical, known_values, parse_values, refuse_unknown
from medimg.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "text", ["mass=", "mass,mass", "=yes", "mass=no|no", "grade=1|1.0", "a,,b", "mass=no||yes"]
)
def test_labels_that_say_nothing_or_something_twice_are_refused(text):
    with pytest.raises(ConfigError, match=r"--labels: expected labels such as mass=no\|yes"):
        parse_values(text)


def test_numbers_are_written_one_way():
    assert [canonical(text) for text in ("1.50", "-0", "no", "", "007")] == ["1.5", "-0", "no", "", "7"]


def test_words_of_all_readers_are_known_and_named_values_come_first():
    def case(*texts):
        return {
            "answers": {
                letter: {"labels": {"birads": text}} for letter, text in zip("AB", texts, strict=True)
            }
        }

    cases = [case("4a", "2"), case("", "5")]
    assert known_values(cases, {}) == {"birads": ("2", "4a", "5")}
    assert known_values([case("1", "2.5")], {}) == {"birads": ()}
    assert known_values([case("1", "2.5")], {"birads": ("1", "2", "3")}) == {"birads": ("1", "2", "3")}
    assert known_values([], {"birads": ("1",)}) == {}


def test_nearest_values_are_named():
    values = {"mass": ("absent", "benign", "malignant"), "size": ()}
    refuse_unknown(
        "a.csv", {"c1": {"mass": "malignant", "size": "3.5", "notes": "?"}, "c2": {"mass": ""}}, values
    )
    with pytest.raises(DataError) as caught:
        refuse_unknown("a.csv", {"c1": {"mass": "Malignat", "size": "3,5"}, "c2": {"mass": "xyz"}}, values)
    assert str(caught.value) == (
        "a.csv: found values that are none of their label: mass 'Malignat' of case c1 (expected absent, benign or "
        "malignant; the nearest is malignant); size '3,5' of case c1 (expected a number); mass 'xyz' of case c2 "
        "(expected absent, benign or malignant). Nothing was written. Mend them, or name all values to medimg "
        "adjudicate conflicts: --labels 'mass=absent|benign|malignant'."
    )


def test_many_faults_are_counted():
    said = {f"c{number}": {"mass": "?"} for number in range(9)}
    with pytest.raises(DataError, match=r"'\?' of case c4 .*; and 4 more\. Nothing"):
        refuse_unknown("a.csv", said, {"mass": ("no",)})
