"""What frozen features know of the labels: a logistic regression on them, and their nearest neighbours."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medimg.errors import DataError
from medimg.records import Task

_MOST_STEPS = 500
_CHUNK = 1024  # cases compared with all training cases at once


@dataclass(frozen=True, slots=True)
class LinearReadout:
    """A logistic regression on standardised features.

    Attributes:
        task: What kind of labels it tells.
        mean: Mean of each feature over the training cases (F,).
        scale: Their standard deviation (F,).
        weight: One row a label (K, F).
        bias: One number a label (K,).
    """

    task: Task
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def probs(self, features: Tensor) -> Tensor:
        """Probabilities (N, K), float32, of features (N, F)."""
        logits = (features.double() - self.mean) / self.scale @ self.weight.T + self.bias
        return (logits.softmax(1) if self.task == "multiclass" else logits.sigmoid()).float()


def fit_linear(features: Tensor, labels: Tensor, task: Task, *, strength: float = 0.01) -> LinearReadout:
    """Fit a logistic regression with an L2 penalty on the weights, by L-BFGS in double precision.

    Args:
        features: Features (N, F) of the training cases.
        labels: Labels (N, K) in [0, 1], NaN or negative where unknown; one-hot for exclusive classes.
        task: What kind of labels they are. Those that are not exclusive are fitted each by itself, on the cases where
            it is known.
        strength: Inverse of the penalty, C of scikit-learn. Standardised features of a few hundred cases want 0.001
            to 0.1.

    Raises:
        DataError: If no label is known, or a feature is not finite.

    Example:
        >>> readout = fit_linear(torch.tensor([[0.0], [1], [2], [3]]), torch.tensor([[0.0], [0], [1], [1]]), "binary")
        >>> readout.probs(torch.tensor([[0.0], [3]])).flatten() > 0.5
        tensor([False,  True])
    """
    with torch.inference_mode(False), torch.enable_grad():
        # What a validation pass made takes no part in gradients; its copies do.
        return _fit(features.double().clone(), labels.double().clone(), task, strength)


def _fit(features: Tensor, labels: Tensor, task: Task, strength: float) -> LinearReadout:
    known = ~(labels.isnan() | (labels < 0))  # (N, K)
    if task == "multiclass":
        known &= known.all(1, keepdim=True)
    if not known.any():
        raise DataError("a probe needs labels, and no training case has a known one")
    if not features.isfinite().all():
        raise DataError("a probe needs finite features: the encoder diverged. Lower the learning rate.")
    mean, scale = features.mean(0), features.std(0, unbiased=False)
    scale = torch.where(scale > 0, scale, 1.0)  # a dead feature stays 0
    inputs, target = (features - mean) / scale, torch.where(known, labels, 0.0)
    weight = torch.zeros(labels.shape[1], features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(labels.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MOST_STEPS,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ weight.T + bias
        if task == "multiclass":
            losses = -(target * logits.log_softmax(1)).sum(1, keepdim=True)
        else:
            losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        # Divided by the number of cases, so that tolerances mean the same for few and for many.
        loss = (losses * known[:, : losses.shape[1]]).sum() / len(inputs)
        loss = loss + weight.square().sum() / (2 * strength * len(inputs))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return LinearReadout(task, mean, scale, weight.detach(), bias.detach())


def neighbour_probs(
    features: Tensor,
    known_features: Tensor,
    known_labels: Tensor,
    *,
    neighbours: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Labels of the most similar training cases, those more alike counting more.

    Args:
        features: Features (N, F) of the cases that are asked about.
        known_features: Features (M, F) of the training cases.
        known_labels: Their labels (M, K), NaN or negative where unknown; such a neighbour has no vote on that label.
        neighbours: Training cases that vote, by cosine similarity.
        temperature: A vote counts exp(similarity / temperature).

    Returns:
        Probabilities (N, K), 0.5 where no neighbour knows the label.

    Reference:
        Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination", arXiv:1805.01978.

    Example:
        >>> neighbour_probs(torch.tensor([[1.0, 0.1]]), torch.eye(2), torch.tensor([[1.0], [0.0]]), neighbours=1)
        tensor([[1.]])
    """
    own = functional.normalize(known_features.float(), dim=1)
    known = ~(known_labels.isnan() | (known_labels < 0))
    labels = torch.where(known, known_labels, 0.0).float()
    answers = []
    for part in torch.split(functional.normalize(features.float(), dim=1), _CHUNK):
        similarity, nearest = (part @ own.T).topk(min(neighbours, len(own)), dim=1)  # (n, k)
        # Relative to the nearest one: exponents stay small.
        votes = ((similarity - similarity[:, :1]) / temperature).exp()[..., None] * known[
            nearest
        ]  # (n, k, K)
        heard = votes.sum(1)
        share = (votes * labels[nearest]).sum(1) / heard.clamp(min=torch.finfo(torch.float32).tiny)
        answers.append(torch.where(heard > 0, share.clamp(0, 1), 0.5))
    return torch.cat(answers) if answers else features.new_zeros(0, labels.shape[1])
