import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from medimg.ensembling.table_search import search_tables
from medimg.ensembling.tables import AlignedTables
from medimg.errors import ConfigError, DataError


def tables(signal, cases=120, seed=0, exclusive=False, target=True):
    """Members of which each knows so much of the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, cases)
    logits = np.array(signal)[:, None] * (2 * truth - 1) + rng.normal(size=(len(signal), cases))
    probs = (1 / (1 + np.exp(-logits)))[..., None]
    names = tuple(f"c{number:03d}" for number in range(cases))
    patients = tuple(f"p{number // 2}" for number in range(cases))
    shown = truth[:, None].astype(float) if target else None
    return AlignedTables(names, patients, ("x",), probs, shown, exclusive)


@pytest.mark.parametrize("search", ["greedy", "simplex"])
@pytest.mark.parametrize("method", ["mean", "geometric", "rank"])
def test_every_score_is_that_of_its_prediction(search, method):
    found = tables([1.0, 0.6, 0.0])
    result, honest = search_tables(found, "ABC", method=method, search=search, objective="auroc")
    forms = {
        "mean": found.probs[..., 0],
        "geometric": np.log(found.probs[..., 0]),
        "rank": np.array([rankdata(one) for one in found.probs[..., 0]]),
    }
    target = found.target[:, 0]

    def auc(weights):
        return roc_auc_score(target, np.average(forms[method], axis=0, weights=weights).round(9))

    assert result.singles == pytest.approx([auc(one) for one in np.eye(3)])
    assert (result.equal, result.in_sample) == pytest.approx((auc([1, 1, 1]), auc(result.weights)))
    assert result.nested == pytest.approx(roc_auc_score(target, honest[:, 0]))
    assert result.gain.mean == pytest.approx(result.nested - result.equal)
    assert result.in_sample >= max(result.equal, *result.singles)
    assert (result.members, result.best) == (("A", "B", "C"), 0)


def test_a_case_is_combined_with_the_weights_of_its_fold():
    found = tables([1.0, 0.6, 0.0])
    result, honest = search_tables(found, "ABC", method="mean", search="greedy", objective="log_loss")
    assert sorted(case for fold in result.folds for case in fold.cases) == sorted(found.cases)
    for fold in result.folds:
        for case in fold.cases:
            number = found.cases.index(case)
            assert honest[number, 0] == pytest.approx(fold.weights @ found.probs[:, number, 0])
    patients = [{found.patients[found.cases.index(case)] for case in fold.cases} for fold in result.folds]
    assert sum(map(len, patients)) == len(set().union(*patients))


def test_searching_among_noise_does_not_pay_and_says_so():
    found = [
        search_tables(
            tables([0.0] * 5, 60, seed), "ABCDE", method="mean", search="greedy", objective="auroc"
        )[0]
        for seed in range(4)
    ]
    assert all(one.in_sample > 0.55 for one in found)
    assert np.mean([one.in_sample - one.nested for one in found]) > 0.05
    assert not any("better" in one.verdict() for one in found)


def test_a_lower_loss_is_better():
    found = tables([2.0, 0.5])
    result, _ = search_tables(found, "AB", method="mean", search="simplex", objective="log_loss")
    assert result.in_sample <= min(result.equal, *result.singles)
    assert result.best == int(np.argmin(result.singles))
    assert result.gain.mean == pytest.approx(result.equal - result.nested)


def test_what_cannot_be_searched_is_refused():
    def run(found, method="mean", objective="auroc"):
        search_tables(found, "AB", method=method, search="greedy", objective=objective)

    with pytest.raises(DataError, match="needs targets, found no target_<label>"):
        run(tables([1, 1], target=False))
    with pytest.raises(ConfigError, match="dice is for volumes"):
        run(tables([1, 1]), objective="dice")
    with pytest.raises(ConfigError, match="kappa judges probabilities, and --method rank gives none"):
        run(tables([1, 1]), method="rank", objective="kappa")
    one_kind = tables([1, 1])
    one_kind.target[:] = 1
    with pytest.raises(DataError, match="auroc is not defined on these 120 cases"):
        run(one_kind)
    lonely = tables([1, 1], cases=2)
    lonely.target[:, 0] = (0, 1)
    with pytest.raises(DataError, match="two patients or more, found 1"):
        run(lonely)
