"""How well a model tells its classes apart."""

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, recall_score, roc_auc_score


def classification(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, recall per class (0 where it never occurs), macro AUC and confusion matrix (rows: true)."""
    predicted = logits.argmax(axis=1)
    known = list(range(len(classes)))
    return {
        "n": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "recall": dict(zip(classes, recall_score(labels, predicted, labels=known, average=None,
                                                 zero_division=0.0).tolist(), strict=True)),
        "auc": auc(softmax(logits, axis=1), labels),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=known).tolist(),
    }


def auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Macro area under the ROC curve, one class against the rest; None where only one class occurs."""
    present = [k for k in range(probabilities.shape[1]) if 0 < (labels == k).sum() < len(labels)]
    if not present:
        return None
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in present]))
