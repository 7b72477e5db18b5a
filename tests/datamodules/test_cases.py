"""A checkpoint goes on with the data it was fitted to, and no case that it has seen is scored."""

import json

import pytest

from medimg.datamodules import DecathlonDataModule, SplitOptions
from medimg.datamodules.cases import usable_cores
from medimg.errors import CheckpointError, ConfigError


def test_a_root_is_needed():
    with pytest.raises(ConfigError, match=r"--data\.root FOLDER"):
        DecathlonDataModule().prepare_data()


def test_a_resume_with_the_same_data_is_accepted(make_decathlon, stand_in):
    data = make_decathlon()
    state = json.loads(json.dumps(data.state_dict()))  # plain values only
    again = make_decathlon()
    again.trainer = stand_in("fit")
    again.load_state_dict(state)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data", "Task99_Other", "data: Task99_Other in the checkpoint, Task4 now"),
        ("labels", {"liver": [1]}, "labels: {'liver': [1]} in the checkpoint, {'anterior': [1], 'posterior': [2]} now"),
        ("split", "0123", "split: 0123 in the checkpoint"),
    ],
)  # fmt: skip
def test_a_resume_with_other_data_is_refused_with_the_difference(make_decathlon, stand_in, key, value, said):
    data = make_decathlon()
    data.trainer = stand_in("fit")
    with pytest.raises(CheckpointError, match="cannot be resumed") as error:
        data.load_state_dict({**data.state_dict(), key: value})
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) < 5


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_cases_that_the_weights_have_seen_are_not_scored(make_decathlon, stand_in, verb):
    trained = make_decathlon(fold=0).state_dict()
    other = make_decathlon(fold=1)
    other.trainer = stand_in(verb)
    with pytest.raises(
        CheckpointError, match=r"trained on 2 of the 2 cases to be scored.*data\.init_args\.fold"
    ):
        other.load_state_dict(trained)
    same_fold = make_decathlon(fold=0)
    same_fold.trainer = stand_in(verb)
    same_fold.load_state_dict(trained)
    # Another data set shares no case, whatever its ids are.
    other.load_state_dict({**trained, "data": "Task99_Other"})


def test_predicting_asks_nothing_of_the_checkpoint(stand_in):
    data = DecathlonDataModule()
    data.trainer = stand_in("predict")
    data.load_state_dict({})


def test_a_stage_reads_the_index_anew(make_decathlon):
    data = make_decathlon()
    assert data.split is data.split
    first = data.split
    data.teardown("fit")
    assert data.split is not first
    assert data.split == first


def test_more_processes_than_cases_are_refused(make_decathlon, stand_in):
    data = make_decathlon()
    data.trainer = stand_in("validate", 1, 2)
    assert len(data.val_dataloader()) == 1
    data.trainer = stand_in("validate", 0, 3)
    with pytest.raises(ConfigError, match=r"3 processes for 2 cases: lower trainer\.devices"):
        data.val_dataloader()


def test_at_least_one_core_is_usable():
    assert usable_cores() >= 1


def test_a_run_says_which_split_and_what_it_holds_out(make_decathlon):
    facts = [make_decathlon(fold=fold).split_facts() for fold in (0, 1)]
    assert facts[0]["split"] == facts[1]["split"] == make_decathlon().split.whole
    assert [one["fold"] for one in facts] == [0, 1]
    assert {(one["folds"], tuple(one["test"]), tuple(one["leaky"])) for one in facts} == {(2, (), ())}
    assert len({*facts[0]["validation"], *facts[1]["validation"]}) == 4
    assert json.loads(json.dumps(facts)) == facts


def test_predictions_say_which_part_of_the_split_they_are(make_decathlon, stand_in, tmp_path):
    data = make_decathlon(fold=1)
    whole, cases = data.split.whole, [*data.split.train, *data.split.val]
    for verb in ("validate", "test"):  # no cases are held out
        data.trainer = stand_in(verb)
        assert data.prediction_facts() == {"split": whole, "fold": 1, "part": "validation"}
    table = tmp_path / "splits.csv"
    rows = [f"{case},{case},{place}" for case, place in zip(cases, ("0", "1", "test", "0"), strict=True)]
    table.write_text("\n".join(["case_id,patient_id,fold", *rows]) + "\n")
    data = make_decathlon(fold=1, split=SplitOptions(file=table))
    for verb, part in (("validate", "validation"), ("test", "test")):
        data.trainer = stand_in(verb)
        assert data.prediction_facts()["part"] == part
    assert data.split_facts()["test"] == [cases[2]]


def test_of_predicted_cases_those_of_the_split_of_the_weights_are_counted(make_decathlon, stand_in):
    state = json.loads(json.dumps(make_decathlon(fold=1).state_dict()))
    data = make_decathlon()
    data.trainer = stand_in("predict")
    data.load_state_dict(state)
    data.predict_dataloader()
    facts = {"split": state["whole"], "fold": 1, "part": "predict", "in_split": 4}
    assert data.prediction_facts() == facts
    data._predicted = ("elsewhere",)
    assert data.prediction_facts() == {**facts, "in_split": 0}
    data.load_state_dict({})  # weights of elsewhere
    assert data.prediction_facts() == {"split": None, "fold": None, "part": "predict", "in_split": None}
