"""What a metric's name tells of it: which values are better, and whether it can decide about a version at all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from promoter.domain.policy.rules.base import REVERSED_ORDERS, RankOrder


def _split_words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_HIGHEST = _split_words(
    "acc accuracy ap auc aucpr auprc auroc bleu dice f1 fbeta gini hitrate iou jaccard kappa ks map mcc meteor miou mrr ndcg",
    "prauc precision r2 recall roc rocauc rouge rougel rouge1 rouge2 sensitivity silhouette specificity tnr tpr",
)
_LOWEST = _split_words(
    "brier cer crps deviance divergence duration ece eer error errors fid fnr fpr kl latency loss mae mape mdape merror ms mse",
    "perplexity pinball regret rmse rmsle seconds smape wape wer",
)
_LATENCY = _split_words("duration latency ms seconds")
_HELD_OUT = _split_words("cv dev eval evaluation holdout oof test val valid validation")
_TRAINING = _split_words("system train training")
_LIVE = _split_words("live online prod production")
_NO_MEASURE = _split_words(
    "baseline batch ci count delta diff drop epoch gap improvement lift lower lr n num params reduction seed size",
    "std stddev stderr step steps support threshold total upper var variance",
)
"""Parts of names that stand for a spread, a difference or a size: more or less of it is not better."""
_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


def split_metric_name(name: str) -> tuple[str, ...]:
    """Split `valAUC` or `val-auc` into its words, in small letters."""
    return tuple(word.lower() for word in _WORDS.split(name) if word)


def find_metric_order(name: str) -> RankOrder | None:
    """Return which values are better, as far as the words of the name tell; None where they tell nothing, or contradict."""
    words = split_metric_name(name)
    if "explained" in words and "variance" in words:
        return "highest"
    if _NO_MEASURE.intersection(words):
        return None
    orders: set[RankOrder] = set()
    if _HIGHEST.intersection(words):
        orders.add("highest")
    if any(word in _LOWEST or word.endswith("loss") for word in words):
        orders.add("lowest")
    if len(orders) != 1:
        return None
    order = orders.pop()
    return REVERSED_ORDERS[order] if "neg" in words else order  # as scikit-learn names errors that it negates


def is_loss(name: str) -> bool:
    """Return whether the name is that of a loss: what training brings down, which people watch beside a better measure."""
    return any(word.endswith("loss") for word in split_metric_name(name))


def rank_deciding_metrics(names: Iterable[str]) -> list[str]:
    """Return the metrics that could decide about a version, of the best kind that there is; several: a person must choose.

    Measures on held-out data come before others, and losses after both. What was measured on training data, in
    production or of the machine, and sizes and spreads, decide nothing. `val_auc` stands for `validation_auc` too. Metrics
    whose name does not tell which values are better come last.
    """
    kinds: dict[tuple[int, int], dict[tuple[str, ...], str]] = {}
    for name in sorted(names, key=lambda each: (len(each), each)):
        words = split_metric_name(name)
        if _TRAINING.intersection(words) or _LIVE.intersection(words) or _LATENCY.intersection(words):
            continue
        if _NO_MEASURE.intersection(words) and "explained" not in words:
            continue
        unknown = 2 if find_metric_order(name) is None else int(is_loss(name))
        kind = (unknown, 0 if _HELD_OUT.intersection(words) else 1)
        same = tuple("val" if word in ("valid", "validation") else word for word in words)
        kinds.setdefault(kind, {}).setdefault(same, name)
    return sorted(kinds[min(kinds)].values()) if kinds else []


def find_latency_metrics(names: Iterable[str]) -> list[str]:
    """Return the metrics that measure a time."""
    timed = (name for name in names if _LATENCY.intersection(split_metric_name(name)))
    return sorted(name for name in timed if find_metric_order(name) == "lowest")
