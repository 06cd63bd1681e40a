"""The same targets under coverage guidance: libFuzzer by way of Atheris (extra ``fuzz``), one process for each target.

::

    cd tests; python -m fuzz.guided csv yaml --runs 100000 --seeds ../runs/seeds

An input that reaches code which none before it reached stays in the folder of seeds of its target, where
:mod:`fuzz.campaign` finds it too. Slower by far than changing inputs blindly, and deeper.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

EVERY = 500
"""Inputs after which the counts are written down."""


def guide(name: str, runs: int, seeds: Path, faults: Path) -> None:
    """One target, in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["hrkd", "fuzz.readers", "fuzz.records", "fuzz.deploying", "fuzz.models"]):
        from fuzz.targets import TARGETS

    from fuzz.campaign import shape_of
    from fuzz.harness import MOST_BYTES, FaultError, Seen, examine

    target, seen, found = TARGETS[name], Seen(), dict[str, str]()
    corpus = seeds / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seed_list()):
        (corpus / f"seed-{number}").write_bytes(data)
    words = seeds / f"{name}.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words if word)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    faults.mkdir(parents=True, exist_ok=True)

    def one(data: bytes) -> None:
        try:
            examine(target, data, seen)
        except FaultError as error:
            seen.inputs += 1
            if (shape := shape_of(error)) not in found:
                found[shape] = str(error)[:300]
                (faults / f"{name}-guided-{len(found)}").write_bytes(data)
        if seen.inputs % EVERY == 0 or found:
            (seeds / f"{name}.json").write_text(json.dumps({"inputs": seen.inputs, "faults": found}))

    flags = [f"-runs={runs}", f"-max_len={MOST_BYTES}", "-timeout=60", "-rss_limit_mb=6000", f"-dict={words}"]
    atheris.Setup([sys.argv[0], str(corpus), *flags, "-verbosity=0", "-seed=1"], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--runs", type=int, default=20_000, help="inputs of each target")
    parser.add_argument("--seeds", type=Path, default=Path("seeds"))
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"))
    options = parser.parse_args()
    if len(options.targets) == 1:
        guide(options.targets[0], options.runs, options.seeds, options.faults)
    for name in options.targets:
        places = ["--seeds", str(options.seeds), "--faults", str(options.faults)]
        command = [sys.executable, "-m", "fuzz.guided", name, "--runs", str(options.runs), *places]
        status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
        told = options.seeds / f"{name}.json"
        sys.stdout.write(f"{name}: {told.read_text() if told.is_file() else 'nothing'} (status {status})\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
