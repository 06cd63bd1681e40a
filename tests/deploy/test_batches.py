"""Labels for Arrow tables, as a worker of a cluster asks for them."""

import logging
import pickle
import subprocess
import sys

import pyarrow as pa
import pytest

from hrkd.deploy.batches import BatchLabeller
from hrkd.deploy.label_table import Labelling
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError

TEXTS = ["good book", "a bad song", "the plot is good", "bad bad plot"]
DOMAINS = ["books", "music", "books", "kitchen & housewares"]


def table(**more):
    return pa.table({"text": TEXTS, "domain": DOMAINS, "nr": [1, 2, 3, 4], **more})


@pytest.mark.parametrize("which", ["student_folder", "exported"])
def test_a_table_keeps_its_columns_and_gets_labels(request, which):
    folder = request.getfixturevalue(which)
    found = BatchLabeller(folder, Labelling(all_labels=True, prefix="its_"))(table())
    assert found.select(["text", "domain", "nr"]) == table()
    predictor = Predictor.from_pretrained(folder)
    expected = predictor(TEXTS, domain=DOMAINS)
    assert found["its_label"].to_pylist() == [each["label"] for each in expected]
    assert found["its_score"].to_pylist() == pytest.approx([each["score"] for each in expected], abs=1e-5)
    assert found.column_names[-3:] == [f"its_score_{label}" for label in predictor.facts.labels]


def test_chunks_metadata_and_types_of_a_table_stay(exported):
    schema = table().schema.with_metadata({"made": "by hand"})
    whole = pa.concat_tables([table(), table().slice(1, 2)]).cast(schema)
    found = BatchLabeller(exported)(whole)
    assert found.schema.metadata == {b"made": b"by hand"}
    assert found.select(["text", "domain", "nr"]) == whole
    assert found.num_rows == 6


def test_an_empty_batch_has_the_same_columns(exported):
    found = BatchLabeller(exported)(table().slice(0, 0))
    assert found.schema.names == ["text", "domain", "nr", "label", "score"]
    assert found.num_rows == 0
    assert found.schema == BatchLabeller(exported)(table()).schema


def test_bad_rows_are_left_out_blank_or_an_error(exported, caplog):
    bad = table().set_column(0, "text", pa.array(["good", None, " ", "bad"]))
    bad = bad.set_column(1, "domain", pa.array(["books", "books", "books", "Mars"]))
    with pytest.raises(DataError, match=r"a batch: 3 rows cannot be labelled"):
        BatchLabeller(exported)(bad)
    with caplog.at_level(logging.WARNING, "hrkd"):
        assert BatchLabeller(exported, Labelling(on_bad_row="skip"))(bad)["nr"].to_pylist() == [1]
    assert "a batch: 3 rows left out: 2 empty texts (row 2, 3), 1 unknown domain 'Mars' (row 4)" in caplog.text
    blank = BatchLabeller(exported, Labelling(on_bad_row="blank"))(bad)
    assert blank["nr"].to_pylist() == [1, 2, 3, 4]
    assert [label is None for label in blank["label"].to_pylist()] == [False, True, True, True]


@pytest.mark.parametrize(
    ("options", "given", "told"),
    [
        ({"text": "txet"}, table(), "no column 'txet'"),
        ({}, table(label=["a"] * 4), "has a column 'label' already"),
        ({"domain": "Mars"}, table(), "Mars"),
        ({}, {"text": ["good"]}, "batch_format='pyarrow'"),
        ({"on_bad_row": "ignore"}, table(), "on_bad_row: expected stop, skip or blank"),
    ],
)
def test_what_is_wrong_is_told(exported, options, given, told):
    with pytest.raises(DataError, match=told):
        BatchLabeller(exported, Labelling(**options))(given)


def test_it_travels_before_and_after_it_has_opened_the_model(exported):
    labeller = BatchLabeller(exported, Labelling(domain="books"))
    first = pickle.loads(pickle.dumps(labeller))(table())
    assert labeller(table()) == first
    assert len(pickle.dumps(labeller)) < 1000
    assert pickle.loads(pickle.dumps(labeller))(table()) == first


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        BatchLabeller(tmp_path / "nowhere")(table())


def test_workers_with_an_export_import_no_torch(exported):
    code = (
        "import sys, pyarrow as pa\n"
        "from hrkd.deploy.batches import BatchLabeller\n"
        "from hrkd.deploy.label_table import Labelling\n"
        f"BatchLabeller({str(exported)!r}, Labelling(domain='books'))(pa.table({{'text': ['good']}}))\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
