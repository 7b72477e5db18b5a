"""A checkpoint goes on with the data it was fitted to, and no case that it has seen is scored."""

import json

import pytest

from medimg.datamodules import DecathlonDataModule
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
