"""Contents of reports that tests of pages share: as large, and as hostile, as one likes."""

import numpy as np

from hrkd.report.page.aggregate import KINDS, calibration, confusion_change, flips, history

HOSTILE = [
    "<script>alert(1)</script>",
    "</blockquote></article><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }} {% raw %} & \x1b[31m \x00 \u202e <b>bold",
    '" onmouseover="alert(3)" http://example.org/',
]


def figures(accuracy, rows=100):
    return {
        "examples": rows,
        "accuracy": accuracy,
        "accuracy_interval": [max(0, accuracy - 0.05), min(1, accuracy + 0.05)],
    }


def scores(accuracies):
    worst = min(accuracies, key=accuracies.get)
    return {
        "domains": {name: figures(value) for name, value in accuracies.items()},
        "mean": figures(float(np.mean(list(accuracies.values())))),
        "worst": {"domain": worst, "accuracy": accuracies[worst]},
        "confidence": 0.95,
    }


def report_content(domains=("books", "dvd"), labels=("bad", "good"), *, levels=2, steps=50, texts=2, text="a text"):
    """The content of report.json of a run that never was."""
    draw, domains, labels = np.random.default_rng(0), list(domains), list(labels)
    truth = {name: draw.integers(0, len(labels), 100) for name in domains}
    said = {
        model: {name: draw.dirichlet(np.ones(len(labels)), 100) for name in domains} for model in ("student", "teacher")
    }
    answers = {model: {name: each.argmax(axis=1) for name, each in own.items()} for model, own in said.items()}
    titles = {"student": "Student", "teacher": "Teacher", "linear": "TF-IDF + logistic regression"}
    models = {
        model: {
            "title": title,
            "megabytes": 10.0 + place,
            "parameters": 10**6,
            "dev": scores(dict.fromkeys(domains, 0.7)),
        }
        | {"test": scores({name: 0.6 + 0.3 * draw.random() for name in domains})}
        for place, (model, title) in enumerate(titles.items())
    }
    curve = history(np.arange(1, steps + 1), draw.random(steps))
    table = draw.random((levels, len(domains))).tolist()
    is_whole = len(labels) <= 8
    changes = {
        name: confusion_change(truth[name], answers["teacher"][name], answers["student"][name], len(labels)).tolist()
        if is_whole
        else [(labels[0], labels[1], 3)]
        for name in domains
    }
    row = {"label": labels[0], "teacher": labels[0], "teacher_confidence": 0.9, "student": labels[1]}
    return {
        "format": "hrkd-report",
        "version": 1,
        "name": "a run",
        "made": "Made by hrkd.",
        "data_digest": "x",
        "labels": labels,
        "domains": domains,
        "verdict": ["The student keeps 99.0 % of its teacher's accuracy."],
        "remarks": ["A remark."],
        "next": "hrkd export runs/a runs/a/small",
        "models": models,
        "confusion": {"labels": labels, "is_whole": is_whole, "domains": changes},
        "calibration": {
            model: {name: calibration(truth[name], own[name]) for name in domains} for model, own in said.items()
        },
        "flips": {
            "counts": {
                name: flips(truth[name], answers["teacher"][name], answers["student"][name]) for name in domains
            },
            "texts": [
                row | {"domain": name, "kind": KINDS[1], "student_confidence": 0.8, "text": text}
                for name in domains
                for _ in range(texts)
            ],
        },
        "texts_note": "Some of them.",
        "history": {
            "ratios": [{"level": level, "domain": name, **curve} for level in range(levels) for name in domains],
            "last_ratios": [
                {"level": level, "domain": name, "mean": 0.5, "std": None}
                for level in range(levels)
                for name in domains
            ],
            "levels": dict.fromkeys(("ratio", "loss", "product"), table),
            "hierarchy": [
                [[0.5] * len(domains) if other <= level else [None] * len(domains) for other in range(levels)]
                for level in range(levels)
            ],
            "relations": draw.random((levels, len(domains), len(domains))).round(3).tolist(),
        },
        "stages": {
            "Student": {
                "loss": curve,
                "epochs": [{"epoch": 1, "loss": 0.5, "accuracy": 0.8}, {"epoch": 2, "loss": 0.4, "accuracy": 0.9}],
                "kept": 2,
                "averaged": None,
            }
        },
        "frontier": {
            "models": [
                {"title": model["title"], "accuracy": 0.7, "parameters": 10**6, "megabytes": model["megabytes"]}
                for model in models.values()
            ],
            "note": "No speeds.",
        },
        "cost": {"seconds": {"student": 12.0, "teacher": 30.0}, "steps": {"student": 50}, "peak_megabytes": {}},
        "data": {
            "notes": [],
            "findings": [{"code": "D103", "domain": domains[0], "found": "2 rows differ", "advice": "Look at these."}],
            "parts": [
                {
                    "domain": name,
                    "split": split,
                    "rows": 100,
                    "labels": dict.fromkeys(labels, 10),
                    "words": {"median": 12.0},
                    "repeated": 0,
                    "conflicting": 0,
                    "in_other_domains": 0,
                }
                for name in domains
                for split in ("train", "dev", "test")
            ],
        },
        "recipe": [
            {"field": "run.seed", "value": "1", "default": "0", "differs": True},
            {"field": "data.max_length", "value": "128", "default": "128", "differs": False},
        ],
    }
