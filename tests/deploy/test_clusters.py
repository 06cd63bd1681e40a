"""Tables labelled by Ray Data and by Spark, on real clusters of this machine (make test-clusters)."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hrkd.deploy.batches import BatchLabeller

pytestmark = pytest.mark.clusters

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = ["a good book", "a bad song", "the plot is good", "not a very bad film"]
DOMAINS = ["books", "music", "kitchen & housewares"]
ROWS = 4000


@pytest.fixture(scope="module")
def table():
    texts = [f"{WORDS[i % 4]} {WORDS[i // 4 % 4]}" for i in range(ROWS)]
    return pa.table({"nr": range(ROWS), "text": texts, "domain": [DOMAINS[i % 3] for i in range(ROWS)]})


@pytest.fixture(scope="module")
def source(table, tmp_path_factory):
    """The table in four files."""
    folder = tmp_path_factory.mktemp("source") / "rows"
    folder.mkdir()
    for part in range(4):
        pq.write_table(table.slice(part * ROWS // 4, ROWS // 4), folder / f"part-{part}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(exported, table):
    return BatchLabeller(exported)(table).to_pandas()


def run(name, *arguments, **environment):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


def check(found, expected):
    found = pa.Table.from_pandas(found, preserve_index=False).replace_schema_metadata().to_pandas()  # usual types
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=False, atol=1e-5)


def test_the_example_for_ray(exported, source, expected, tmp_path):
    run("label_with_ray.py", exported, source, tmp_path / "labelled")
    check(pd.read_parquet(tmp_path / "labelled"), expected)


class Noted(BatchLabeller):
    """Takes its time, and leaves a note for each batch that it begins."""

    def __init__(self, folder, notes):
        super().__init__(folder)
        self.notes = notes

    def __call__(self, table):
        (Path(self.notes) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.2)
        return super().__call__(table)


def test_ray_goes_on_when_a_worker_is_killed(exported, source, expected, tmp_path):
    import ray

    killed = []

    def kill():
        while not killed:
            pids = [int(note.name.partition("-")[0]) for note in tmp_path.iterdir()]
            again = [pid for pid in pids if pids.count(pid) >= 3]
            if len(set(pids)) == 2 and again:
                os.kill(again[0], signal.SIGKILL)
                killed.append(again[0])
            time.sleep(0.05)

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        threading.Thread(target=kill, daemon=True).start()
        rows = (
            ray.data.read_parquet(str(source))
            .repartition(target_num_rows_per_block=100)
            .map_batches(
                Noted,
                fn_constructor_args=(str(exported), str(tmp_path)),
                batch_format="pyarrow",
                batch_size=100,
                compute=ray.data.ActorPoolStrategy(size=2),
            )
        )
        found = rows.to_pandas()
    finally:
        ray.shutdown()
    pids = {int(note.name.partition("-")[0]) for note in tmp_path.iterdir()}
    assert killed
    assert len(pids) == 3, "another worker took its place"
    check(found, expected)


def test_the_example_for_spark(exported, source, expected, tmp_path):
    run("label_with_spark.py", exported, source, tmp_path / "labelled", PYSPARK_PYTHON=sys.executable)
    check(pd.read_parquet(tmp_path / "labelled").sort_values("nr", ignore_index=True), expected)
