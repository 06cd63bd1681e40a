"""Which test rows a student gets wrong, and where it parts from its teacher: ``hrkd errors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError, RecipeError
from hrkd.report.page.aggregate import KINDS
from hrkd.run.answers import TestAnswers, check_same_rows, finished_results, read_answers, run_splits
from hrkd.run.first_look import WHICH
from hrkd.support.arguments import path_of
from hrkd.support.messages import suggestion

__all__ = ["answers_table", "errors", "student_of"]


def errors(
    run: str | Path,
    *,
    which: str = "all",
    domain: str | None = None,
    data: MultiDomainDataset | None = None,
) -> pd.DataFrame:
    """Test rows that student or teacher get wrong, with what both said; by domain, the student's surest first.

    Args:
        run: folder of a finished run.
        which: ``all``; ``wrong`` by the student; ``lost``: right by the teacher alone; ``gained``: by the student
            alone; ``neither``.
        domain: of this one alone.
        data: rows in memory, of a run that was made from such: those of test.

    Returns:
        columns id, domain, kind, label, student, student_confidence, teacher, teacher_confidence, text and, of pairs,
        text_pair.

    Raises:
        ArtifactError: the folder is no finished run, or is damaged.
        DataError: its test rows cannot be read, or are others now.
        RecipeError: there is no such choice, or domain.
    """
    folder = path_of("run", run, "the folder of a run")
    if which not in WHICH:
        raise RecipeError(f"--which: {which!r} is none of {', '.join(WHICH)}{suggestion(which, WHICH, before='; ')}")
    results = finished_results(folder)
    if domain is not None and domain not in results["domains"]:
        raise RecipeError(
            f"--domain: the run knows no {domain!r}; its domains: {', '.join(results['domains'])}"
            f"{suggestion(domain, results['domains'], before='; ')}"
        )
    answers = read_answers(folder, results)
    if data is None:
        data = run_splits(folder, answers).test
    check_same_rows(folder, data, answers)
    found = answers_table(folder, answers, data)
    found = found[found["kind"].isin(WHICH[which])]
    return found if domain is None else found[found["domain"] == domain]


def student_of(run: Path, answers: TestAnswers) -> str:
    """The model that is held against the teacher: the student, or the one trained without distillation.

    Raises:
        ArtifactError: neither it nor the teacher has left answers.
    """
    name = "student" if "student" in answers.probabilities else "student_without_distillation"
    if name not in answers.probabilities or "teacher" not in answers.probabilities:
        raise ArtifactError(f"{run}: holds no answers of both a teacher and a student")
    return name


def answers_table(run: Path, answers: TestAnswers, rows: MultiDomainDataset) -> pd.DataFrame:
    """Every test row as :func:`errors` returns it, right ones too."""
    names, columns = np.array(answers.names), dict[str, Any]()
    said = {"student": student_of(run, answers), "teacher": "teacher"}
    right = {role: answers.answers(model) == answers.label_ids for role, model in said.items()}
    kinds = np.array(KINDS)[2 * ~right["teacher"] + ~right["student"]]
    columns |= {"id": answers.ids, "domain": answers.domains, "kind": kinds, "label": answers.labels}
    for role, model in said.items():
        columns[role] = names[answers.answers(model)]
        columns[f"{role}_confidence"] = answers.probabilities[model].max(axis=1).astype(float)
    for name in rows.text_columns:
        columns[name] = rows.rows[name][:]
    order = {name: place for place, name in enumerate(rows.domains)}
    table = pd.DataFrame(columns)
    table["place"] = table["domain"].map(order)
    table = table.sort_values(["place", "student_confidence"], ascending=[True, False], kind="stable")
    return table.drop(columns="place").reset_index(drop=True)
