"""What a grid of runs says: accuracies, paired differences and costs, as the content of compare.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hrkd.comparison.grid import Grid
from hrkd.comparison.statistics import bootstrap_interval, domain_mean, holm, mcnemar_test, sign_flip_test
from hrkd.report.remarks import LINEAR
from hrkd.support.text_table import megabytes, millions

__all__ = ["COLUMNS", "COSTS", "Measured", "Settings", "common_seeds", "comparison_content", "summary", "tidy_rows"]

FORMAT, VERSION = "hrkd-comparison", 1
MEAN = "mean"
Summary = Callable[[Sequence[float]], Any]


@dataclass(frozen=True)
class Cost:
    """A figure of what a method cost: its column in tables, and how it is put together.

    ``of_seeds`` makes one of a method's seeds, ``of_domains`` of its models of separate domains, made one by one.
    """

    heading: str
    form: Callable[[float], str]
    of_seeds: Summary
    of_domains: Summary = sum


COSTS = {
    "seconds": Cost("Training, s", "{:,.1f}".format, np.mean),
    "peak_megabytes": Cost("Peak memory, MB", megabytes, np.max, max),
    "parameters": Cost("M parameters", millions, np.max),
    "steps": Cost("Steps", "{:,.0f}".format, np.mean),
    "megabytes": Cost("MB", megabytes, np.max),
    "times_as_fast": Cost("Times as fast", "{:.1f}".format, np.median, np.mean),
}

COLUMNS = ("data", "fraction", "method", "seed", "domain", "accuracy")
"""Columns of compare.csv."""

Content = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One model of the grid on its test items, which are sorted by id.

    ``amount`` says how much of the training set was used, and ``fraction`` its share or ``shots`` the rows of each
    domain and label; the other is None.
    ``method`` is the name of a row; ``kind`` one of teacher, distilled, labels, linear. ``teacher`` is the row of the
    teacher that it learnt or started from, itself for a teacher, None for a linear model. ``correct`` (N,) says which
    items are right, ``domain_ids`` (N,) index ``domains``. ``cost`` holds some of :data:`COSTS`. ``ratios``, if any,
    are those of the last epoch: level, domain, mean and std over logged steps of each (None for one step).
    ``train_rows`` are those that it was trained on, by domain, if that is known. ``still_learning``: dev still rose at
    its end; ``longer`` is what to raise then, and ``advice`` what to do where the linear model surpasses it.
    """

    data: str
    amount: str
    fraction: float | None
    method: str
    kind: str
    teacher: str | None
    seed: int | None
    domains: tuple[str, ...]
    domain_ids: np.ndarray
    correct: np.ndarray
    cost: Mapping[str, float | None]
    shots: int | None = None
    synthetic: bool = False
    ratios: Sequence[Mapping[str, Any]] | None = None
    train_rows: Mapping[str, int] | None = None
    still_learning: bool = False
    longer: str = ""
    advice: str = ""

    @property
    def rows(self) -> dict[str, int]:
        """Test items of every domain."""
        return dict(zip(self.domains, np.bincount(self.domain_ids, minlength=len(self.domains)).tolist(), strict=True))

    @property
    def accuracies(self) -> dict[str, float]:
        """Share of items that are right, of every domain that has some."""
        right = np.bincount(self.domain_ids, self.correct, minlength=len(self.domains)).tolist()
        return {name: right[d] / count for d, (name, count) in enumerate(self.rows.items()) if count}


@dataclass(frozen=True)
class Settings:
    """How methods are compared.

    ``baselines`` are the methods that others are compared with, ``methods`` all names in their order, ``seeds`` those
    that were asked for.
    """

    baselines: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher_sees: str
    teacher_seeds: str
    resamples: int = Grid.model_fields["resamples"].default
    confidence: float = Grid.model_fields["confidence"].default


def comparison_content(
    measured: Sequence[Measured],
    settings: Settings,
    *,
    failed: Mapping[str, str],
    missing: Sequence[str],
    grid: Mapping[str, Any],
) -> Content:
    """Everything that can be said of the models, as plain data.

    Args:
        measured: all models that are there.
        settings: see :class:`Settings`.
        failed: errors by the name of the run.
        missing: names of runs that are not finished and have not failed.
        grid: the grid as it was run, for the record.
    """
    tables = [_table(models, settings) for models in _grouped(measured, lambda each: (each.data, each.amount))]
    differences = [difference for table in tables for difference in table["differences"]]
    for difference, p in zip(differences, holm([each["p"] for each in differences]), strict=True):
        difference["p_holm"] = p
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(settings).items()
        },
        "grid": dict(grid),
        "tables": tables,
        "failed": [{"run": run, "error": error} for run, error in failed.items()],
        "missing": list(missing),
    }


def tidy_rows(measured: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """One row of :data:`COLUMNS` per model and domain; the amount stands for the fraction where shots are counted."""
    for model in measured:
        fraction = model.amount if model.fraction is None else model.fraction
        for domain, accuracy in model.accuracies.items():
            values = model.data, fraction, model.method, model.seed, domain, accuracy
            yield dict(zip(COLUMNS, values, strict=True))


def _grouped(measured: Sequence[Measured], key: Callable[[Measured], Any]) -> list[list[Measured]]:
    """Those with the same key together, in the order in which the keys come up."""
    groups: dict[Any, list[Measured]] = {}
    for model in measured:
        groups.setdefault(key(model), []).append(model)
    return list(groups.values())


def _table(models: Sequence[Measured], settings: Settings) -> Content:
    """One data set with one fraction."""
    first = models[0]
    teachers = dict.fromkeys(model.method for model in models if model.kind == "teacher")
    ranks = {name: rank for rank, name in enumerate([*teachers, *settings.methods, LINEAR])}
    rows = sorted(_grouped(models, lambda each: each.method), key=lambda row: ranks[row[0].method])
    return {
        "data": first.data,
        "level": first.amount,  # the file's own name for it
        "fraction": first.fraction,
        "shots": first.shots,
        "examples": len(first.correct),
        "rows": first.rows,
        "train_rows": next((model.train_rows for model in models if model.train_rows is not None), None),
        "domains": list(first.domains),
        "synthetic": first.synthetic,
        "methods": [_row(row, settings) for row in rows],
        "missing": _missing(rows, settings),
        "differences": _differences(rows, settings),
        "beside": _beside(rows, settings),
    }


def _row(models: Sequence[Measured], settings: Settings) -> Content:
    """A method with all its seeds."""
    first = models[0]
    of_models = [model.accuracies for model in models]
    accuracies = {domain: [each[domain] for each in of_models] for domain in of_models[0]}
    accuracies[MEAN] = np.mean(list(accuracies.values()), axis=0).tolist()
    correct = np.stack([model.correct for model in models])
    return {
        "name": first.method,
        "kind": first.kind,
        "teacher": first.teacher,
        "seeds": [model.seed for model in models],
        "still_learning": sum(model.still_learning for model in models),
        "longer": first.longer,
        "advice": first.advice,
        "accuracy": {name: _mean_and_deviation(values) for name, values in accuracies.items()},
        "interval": _interval(correct, first.domain_ids, settings, lowest=0),
        "cost": {
            name: summary([model.cost.get(name) for model in models], cost.of_seeds) for name, cost in COSTS.items()
        },
        "ratios": _ratios(models),
    }


def _interval(values: np.ndarray, domain_ids: np.ndarray, settings: Settings, *, lowest: float) -> list[float]:
    resamples, confidence = settings.resamples, settings.confidence
    return [*bootstrap_interval(values, domain_ids, lowest=lowest, resamples=resamples, confidence=confidence)]


def _ratios(models: Sequence[Measured]) -> list[Content] | None:
    """Ratios of each level and domain, as means over seeds: of their means over steps, and of their deviations.

    ``values`` are the means over steps of each seed.
    """
    seeds: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for model in models:
        for entry in model.ratios or ():
            seeds.setdefault((entry["level"], entry["domain"]), []).append(entry)
    found = [
        {"level": level, "domain": domain}
        | {figure: summary([entry[figure] for entry in entries], np.mean) for figure in ("mean", "std")}
        | {"values": [entry["mean"] for entry in entries]}
        for (level, domain), entries in seeds.items()
    ]
    return found or None


def _mean_and_deviation(values: Sequence[float]) -> Content:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation, "values": list(values)}


def summary(values: Sequence[float | None], how: Summary) -> float | None:
    """One figure of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(how(known)) if known else None


def _missing(rows: Sequence[Sequence[Measured]], settings: Settings) -> list[Content]:
    """Seeds of methods that are not there."""
    there = {row[0].method: {model.seed for model in row} for row in rows}
    seeds = {name: [seed for seed in settings.seeds if seed not in there.get(name, ())] for name in settings.methods}
    return [{"method": name, "seeds": missing} for name, missing in seeds.items() if missing]


def _differences(rows: Sequence[Sequence[Measured]], settings: Settings) -> list[Content]:
    """Every method against every baseline, over the seeds that both have; two baselines only once."""
    methods = {row[0].method: row for row in rows if row[0].kind != "teacher"}
    compared = []
    for number, baseline in enumerate(settings.baselines):
        beside, done = {model.seed: model for model in methods.get(baseline, ())}, settings.baselines[: number + 1]
        for name, row in methods.items():
            # The linear model has no seed: it is held against each of the other's.
            models = dict.fromkeys(beside, row[0]) if row[0].kind == "linear" else {model.seed: model for model in row}
            seeds = common_seeds(models, beside)
            if seeds and name not in done:
                pairs = [(models[seed], beside[seed]) for seed in seeds]
                compared.append({"method": name, "baseline": baseline, "seeds": seeds, **_compare(pairs, settings)})
    return compared


def common_seeds(one: Iterable[int | None], other: Iterable[int | None]) -> list[int | None]:
    """The seeds of ``one`` that ``other`` has too: over these, two methods are compared."""
    there = set(other)
    return [seed for seed in one if seed in there]


def _compare(pairs: Sequence[tuple[Measured, Measured]], settings: Settings) -> Content:
    domain_ids = pairs[0][0].domain_ids
    values = np.stack([one.correct.astype(int) - other.correct.astype(int) for one, other in pairs])
    test = sign_flip_test(values, domain_ids, resamples=settings.resamples)
    return {
        "difference": domain_mean(values, domain_ids),
        "interval": _interval(values, domain_ids, settings, lowest=-1),
        "p": test.p,
        "exact": test.exact,
        "mcnemar": asdict(mcnemar_test(values[0])) if len(values) == 1 else None,
    }


def _beside(rows: Sequence[Sequence[Measured]], settings: Settings) -> list[Content]:
    """Every student against those that learn from labels alone (of the same teacher, if any), and its teacher.

    All of these against the linear model, too.

    ``accuracies`` are means over the seeds that are compared: those of both, or all where there are none. Teachers that
    all seeds share count for each. The interval is widened to hold 0 where the sign-flip test tells no difference.
    """
    unaided, found = [row for row in rows if row[0].kind == "labels"], []
    linear = [row for row in rows if row[0].kind == "linear"]
    teachers = {row[0].method: row for row in rows if row[0].kind == "teacher"}
    for row in rows:
        first, others = row[0], []
        if first.kind == "distilled":
            others += [other for other in unaided if other[0].teacher == first.teacher] or unaided
        if first.kind != "teacher" and first.teacher in teachers:
            others.append(teachers[first.teacher])
        if first.kind != "linear":
            others += linear
        found += [_held_against(row, other, settings) for other in others]
    return found


def _held_against(row: Sequence[Measured], other: Sequence[Measured], settings: Settings) -> Content:
    by_seed, shared = {model.seed: model for model in other}, other[0].kind in ("teacher", "linear") and len(other) == 1
    pairs = [(model, other[0] if shared else by_seed[model.seed]) for model in row if shared or model.seed in by_seed]
    ours, theirs = zip(*pairs, strict=True) if pairs else (row, other)
    one, beside = (np.stack([model.correct for model in models]).astype(float) for models in (ours, theirs))
    domain_ids = row[0].domain_ids
    values = one - beside if pairs else one.mean(axis=0, keepdims=True) - beside.mean(axis=0, keepdims=True)
    low, high = _interval(values, domain_ids, settings, lowest=-1)
    if sign_flip_test(values, domain_ids, resamples=settings.resamples).p > 1 - settings.confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return {
        "method": row[0].method,
        "other": other[0].method,
        "kind": other[0].kind,
        "accuracies": [domain_mean(one, domain_ids), domain_mean(beside, domain_ids)],
        "difference": domain_mean(values, domain_ids),
        "interval": [low, high],
        "confidence": settings.confidence,
        "examples": len(domain_ids),
    }
