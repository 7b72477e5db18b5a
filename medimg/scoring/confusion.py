"""Confusion matrices of exclusive classes, and what follows from them: accuracy and kappa."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.classification import divide
from medimg.scoring.ranking import FloatArray, IndexArray


def known_classes(target: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], IndexArray]:
    """Class of each case from one-hot or soft targets.

    Args:
        target: Share of each class, shape (N, K); a case with a NaN is unknown, and so is one of zeros.

    Returns:
        Whether each case is known, shape (N,), and the class of the known ones, the largest share winning.

    Example:
        >>> known_classes([[0, 1], [float("nan"), 0], [0.6, 0.4]])
        (array([ True, False,  True]), array([1, 0]))
    """
    shares = np.asarray(target, np.float64)
    known = np.asarray(~np.isnan(shares).any(axis=1) & (shares > 0).any(axis=1))
    classes: IndexArray = shares[known].argmax(axis=1)
    return known, classes


def confusion_matrix(target: npt.ArrayLike, pred: npt.ArrayLike, num_classes: int) -> FloatArray:
    """Number of cases by true and predicted class.

    Args:
        target: True class of each case, an index in [0, num_classes), shape (N,).
        pred: Predicted class, shape (N,).
        num_classes: K.

    Returns:
        Counts of shape (K, K): a row is a true class, a column a predicted one.

    Raises:
        ValueError: If shapes differ or an index is out of range.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2)
        array([[1., 0.],
               [1., 1.]])
    """
    truth, call = np.asarray(target), np.asarray(pred)
    if truth.ndim != 1 or truth.shape != call.shape:
        raise ValueError(f"classes of one shape (N,) expected, found {truth.shape} and {call.shape}")
    both = np.concatenate([truth, call])
    if both.size and (both.min() < 0 or both.max() >= num_classes or np.any(both % 1)):
        raise ValueError(
            f"classes 0 to {num_classes - 1} expected, found values from {both.min()} to {both.max()}"
        )
    cells = truth.astype(np.intp) * num_classes + call.astype(np.intp)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, -1).astype(np.float64)


def matrix_accuracy(matrix: FloatArray) -> FloatArray:
    """Share of cases on the diagonal of matrices (..., K, K); NaN without cases."""
    return divide(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def matrix_balanced_accuracy(matrix: FloatArray) -> FloatArray:
    """Mean recall of the classes that are there, of matrices (..., K, K); NaN with fewer than two of them."""
    size = matrix.sum(axis=-1)
    present = size > 0
    recall = np.nan_to_num(divide(np.diagonal(matrix, axis1=-2, axis2=-1), size))
    n_present = present.sum(axis=-1)
    return divide(recall.sum(axis=-1), n_present.astype(np.float64), np.asarray(n_present > 1))


def matrix_kappa(matrix: FloatArray, *, quadratic: bool = False) -> FloatArray:
    """Cohen's kappa of matrices (..., K, K).

    Args:
        matrix: Counts by true and predicted class.
        quadratic: Weigh a mistake by its squared distance, for classes that are grades in order.

    Returns:
        One value a matrix; NaN where only one class is there.
    """
    k = matrix.shape[-1]
    rows, columns = np.indices((k, k))
    cost = (rows - columns) ** 2.0 if quadratic else (rows != columns).astype(np.float64)
    true, called = matrix.sum(axis=-1), matrix.sum(axis=-2)
    found = (matrix * cost).sum(axis=(-2, -1)) * true.sum(axis=-1)
    by_chance = np.einsum("...i,ij,...j->...", true, cost, called)
    several = np.asarray((true > 0).sum(axis=-1) > 1)
    return 1 - divide(found, by_chance, several)


def kappa(target: npt.ArrayLike, pred: npt.ArrayLike, num_classes: int) -> float:
    """Cohen's kappa of classes without an order; arguments as for ``confusion_matrix``.

    Example:
        >>> kappa([0, 0, 1, 1], [0, 1, 1, 1], 2)
        0.5

    Reference:
        Cohen, "A coefficient of agreement for nominal scales", 1960.
    """
    return float(matrix_kappa(confusion_matrix(target, pred, num_classes)))


def quadratic_kappa(target: npt.ArrayLike, pred: npt.ArrayLike, num_classes: int) -> float:
    """Kappa with squared distances between grades, as in diabetic retinopathy.

    Args:
        target: True grade of each case, an index in [0, num_classes), shape (N,).
        pred: Predicted grade, shape (N,).
        num_classes: Number of grades.

    Returns:
        1 for full agreement, 0 for chance, below 0 for less; NaN if only one grade is there.

    Raises:
        ValueError: If shapes differ or a grade is out of range.

    Example:
        >>> quadratic_kappa([0, 1, 2, 2], [0, 1, 1, 2], 3)
        0.8

    Reference:
        Cohen, "Weighted kappa", 1968.
    """
    return float(matrix_kappa(confusion_matrix(target, pred, num_classes), quadratic=True))
