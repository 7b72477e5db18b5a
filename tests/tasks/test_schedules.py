import math

import pytest
import torch
from torch.optim import SGD, AdamW

from medimg.tasks.schedules import CosineSchedule, PolynomialSchedule


def rates(schedule, steps, lr=0.1):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = schedule.build(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found, optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_polynomial_is_nnunets(power):
    found, end = rates(PolynomialSchedule(power), 50)
    assert found == pytest.approx([0.1 * (1 - step / 50) ** power for step in range(50)], rel=1e-6)
    assert end == pytest.approx(0, abs=1e-9)


def test_cosine_by_its_formula():
    found, end = rates(CosineSchedule(eta_min=0.01), 40)
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert end == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", [CosineSchedule(warmup=0.2), PolynomialSchedule(warmup=0.2)])
def test_warm_up_rises_over_its_share_and_the_whole_still_ends_with_the_run(schedule):
    found, end = rates(schedule, 50)
    assert found[0] == pytest.approx(0.001)
    assert found[5] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5))
    assert max(found) == found[10] == pytest.approx(0.1)
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert end == pytest.approx(0, abs=1e-9)


def test_a_schedule_goes_on_where_a_checkpoint_left_it():
    whole, _ = rates(CosineSchedule(warmup=0.1), 30)
    optimizer = AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = CosineSchedule(warmup=0.1).build(optimizer, 30)
    for _ in range(12):
        optimizer.step()
        scheduler.step()
    state = scheduler.state_dict(), optimizer.state_dict()
    other = AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    resumed = CosineSchedule(warmup=0.1).build(other, 30)
    resumed.load_state_dict(state[0])
    other.load_state_dict(state[1])
    assert other.param_groups[0]["lr"] == pytest.approx(whole[12])
    other.step()
    resumed.step()
    assert other.param_groups[0]["lr"] == pytest.approx(whole[13])


@pytest.mark.parametrize("schedule", [CosineSchedule(warmup=0.1), PolynomialSchedule()])
def test_a_run_that_is_made_longer_follows_the_longer_curve(schedule, tmp_path):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = schedule.build(optimizer, 10)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    torch.save([optimizer.state_dict(), scheduler.state_dict()], tmp_path / "state")
    states = torch.load(tmp_path / "state", weights_only=True)  # plain values only
    other = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    resumed = schedule.build(other, 40)
    other.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    whole, _ = rates(schedule, 40)
    other.step()
    resumed.step()
    assert other.param_groups[0]["lr"] == pytest.approx(whole[11])


def test_each_group_of_parameters_has_its_own_rate():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2, 0.0)]
    optimizer = SGD(groups)
    scheduler = CosineSchedule(eta_min=0.02).build(optimizer, 4)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.06, 0.11, 0.0])


def test_a_run_of_one_step_can_be_scheduled():
    assert rates(PolynomialSchedule(), 1)[0] == [0.1]
