"""Print a run as a Markdown record: command, commit, machine, versions, times, tables."""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path

from hrkd.report.tables import results_markdown


def commit() -> str:
    """The commit of the working tree, marked if it has changes."""
    say = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(say, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Print the record of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--command", required=True, help="as it was given")
    parser.add_argument("--commit", default=None, help="the run's, if it is not that of the working tree")
    parser.add_argument("--title", default=None)
    arguments = parser.parse_args()
    results = json.loads((arguments.run / "results.json").read_text())
    environment = json.loads((arguments.run / "environment.json").read_text())
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    print(f"# {arguments.title or arguments.run.name}\n")
    print(f"    {arguments.command}\n")
    print(f"* commit {arguments.commit or commit()}, seed {results['seed']}, split seed {results['split_seed']}")
    print(f"* machine: {os.cpu_count()} cores, {platform.machine()}, {environment['platform']}")
    print(f"* Python {environment['python']}; {packages}")
    times = ", ".join(
        f"{stage.replace('_', ' ')} {seconds / 60:.1f} min" for stage, seconds in results["seconds"].items()
    )
    print(f"* time of all epochs, dev evaluations included: {times}")
    for note in results["notes"]:
        print(f"* data: {note}")
    for split in ("dev", "test"):
        print(f"\n{results_markdown(results, split)}")
    for stage in ("teacher", "student", "baseline"):
        file = arguments.run / stage / "training.json"
        if file.is_file():
            record = json.loads(file.read_text())
            epochs = ", ".join(f"{100 * epoch['selection']:.2f}" for epoch in record["epochs"])
            print(f"\n{stage}: mean dev accuracy by epoch {epochs}; epoch {record['best_epoch']} kept")


if __name__ == "__main__":
    main()
