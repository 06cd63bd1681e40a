"""`hrkd predict` on a real, tiny student: texts, lines, tables, pipes."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hrkd.cli import main
from hrkd.deploy.predict import Predictor


@pytest.fixture(scope="module")
def student(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "student"
    model = tiny.model()
    model.config.columns = {"text": "review", "text_pair": None, "label": "stars", "domain": "shop"}
    model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def one_head(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "student"
    tiny.model(mode="shared").save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def domain(tiny):
    return tiny.splits.domains[0]


@pytest.fixture
def run(capsysbinary, monkeypatch, tmp_path):
    """Run the verb in an empty folder; status, output and errors. ``given``: what standard input holds."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, given=None):
        pipe = SimpleNamespace(buffer=io.BytesIO(given), closed=False, isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", None if given is None else pipe)
        status = main(["predict", *map(str, arguments)])
        output, errors = capsysbinary.readouterr()
        return status, output.decode(), errors.decode()

    return call


def lines_of(student, domain, *texts):
    answers = Predictor.from_pretrained(student, device="cpu")(texts, domain=domain)
    return [f"{a['label']} {a['score']:.4f}\t{text}" for a, text in zip(answers, texts, strict=True)]


def test_texts_of_arguments_and_of_lines_get_the_same_answers(run, student, domain):
    expected = lines_of(student, domain, "a good read", "-5 stars, awful")
    status, output, errors = run(student, "--domain", domain, "a good read", "-5 stars, awful")
    assert (status, output.splitlines(), errors) == (0, expected, "")
    status, output, errors = run(student, "--domain", domain, given=b"a good read\r\n-5 stars, awful\n")
    assert (status, output.splitlines(), errors) == (0, expected, "")


def test_one_head_asks_for_no_domain(run, one_head):
    status, output, errors = run(one_head, "a good read")
    assert (status, output.splitlines(), errors) == (0, lines_of(one_head, None, "a good read"), "")
    assert run(one_head, given=b"a good read\n")[1] == output


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        ([], b"good\n", "--domain: missing; name the domain of the texts"),
        (["--domain", "nowhere"], b"good\n", "unknown domain 'nowhere'"),
        (["--input", "-", "--output", "-"], b"review,shop\n", "say what it is: --input-format csv, tsv or jsonl"),
        (["--input", "in.csv", "--output", "-", "--input-format", "csv"], None, "--input-format is for --input -"),
        (["--input", "-", "--output", "out.xlsx"], b"{}\n", "out.xlsx: no table"),
        (
            ["--input", "-", "--output", "-", "--input-format", "csv"],
            b"text,shop\n",
            "no column 'review'; found text",
        ),
    ],
)
def test_what_is_wrong_is_one_message(run, student, arguments, given, said):
    status, output, errors = run(student, *arguments, given=given)
    assert (status, output) == (2, "")
    assert said in errors
    assert errors.startswith("error: ")


def test_a_table_by_the_models_own_columns_and_by_others(run, student, domain, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"review": "good", "shop": domain, "body": "a bad plot"}) + "\n")
    assert run(student, "--input", "in.jsonl", "--output", "own.csv")[:2] == (0, "1 text labelled: own.csv\n")
    assert run(student, "--input", "in.jsonl", "--output", "named.csv", "--data.text", "body")[0] == 0
    assert (tmp_path / "own.csv").read_text() != (tmp_path / "named.csv").read_text()


def test_tables_in_pipes(run, student, domain, tmp_path):
    table = f"review,shop,nr\na good read,{domain},007\n,{domain},008\n"
    (tmp_path / "in.csv").write_text(table)
    arguments = ["--on-bad-row", "blank", "--output", "-"]
    status, output, errors = run(student, "--input", "in.csv", *arguments)
    answer = lines_of(student, domain, "a good read")[0].split()[0]
    assert output.splitlines()[0] == "review,shop,nr,label,score"
    assert output.splitlines()[1].startswith(f"a good read,{domain},007,{answer},0.")
    assert output.splitlines()[2:] == [f",{domain},008,,"]
    assert (status, "1 row left blank: 1 empty text (row 2)" in errors, "1 text labelled" in errors) == (0, True, True)
    piped = run(student, "--input", "-", "--input-format", "csv", *arguments, given=table.encode())
    assert piped[:2] == (0, output)
    by_name = ["--input", "/dev/stdin", "--input-format", "csv", "--on-bad-row", "blank", "--output", "/dev/stdout"]
    assert run(student, *by_name, given=table.encode())[:2] == (0, output)
    lines = run(student, "--input", "in.csv", *arguments, "--output-format", "jsonl")[1].splitlines()
    assert json.loads(lines[1]) == {"review": "", "shop": domain, "nr": "008", "label": None, "score": None}
    again = run(student, "--input", "-", "--output", "-", "--prefix", "p_", given=lines[0].encode())[1]
    assert json.loads(again)["p_label"] == json.loads(lines[0])["label"] == answer


def test_a_run_without_a_student_says_how_far_it_is(run, student, tmp_path):
    (tmp_path / "half/checkpoints/student").mkdir(parents=True)
    (tmp_path / "half/teacher").mkdir()
    (tmp_path / "half/teacher/config.json").write_text("{}")
    for folder in ("half", "half/student"):
        _, _, errors = run(folder, "--domain", "books", "a text")
        assert (
            "a run whose student is not finished yet (finished: teacher; under way: student); the command that"
            in errors
        )


def test_an_answer_comes_before_the_next_line_and_a_reader_that_leaves_is_no_error(student, domain):
    command = [sys.executable, "-m", "hrkd", "predict", str(student), "--domain", domain]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        process.stdin.write(b"a good read\n")
        process.stdin.flush()
        assert process.stdout.readline().decode().rstrip("\n") == lines_of(student, domain, "a good read")[0]
        process.stdout.close()
        process.stdin.write(b"a bad read\n" * 10)
        process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


def test_a_file_where_a_text_is_expected(run, student, domain, tmp_path):
    (tmp_path / "new.csv").write_text("text\ngood\n")
    status, _, errors = run(student, "--domain", domain, "new.csv")
    assert status == 2
    assert "new.csv: is a file, not a text; label it with --input new.csv" in errors
    assert run(student, "--domain", domain, "gone.csv")[0] == 0
    assert run(student, "--domain", domain, f"{'a long story ' * 30} of readme.txt")[0] == 0, "no name of a file"


@pytest.mark.parametrize(
    ("first", "kind"),
    [("id,review", "csv"), ('id,"review",more', "csv"), ("id\treview", "tsv"), ('{"review": "good"}', "jsonl")],
)
def test_a_table_where_lines_are_expected(run, student, domain, first, kind):
    status, output, errors = run(student, "--domain", domain, given=f"{first}\n1,good\n".encode())
    assert (status, output) == (2, "")
    assert f"has a field 'review', as a table does; label it with --input - --input-format {kind}" in errors


@pytest.mark.parametrize("first", ["review", "a review, and a good one", "{review}"])
def test_lines_that_only_speak_of_the_column(run, student, domain, first):
    assert run(student, "--domain", domain, given=first.encode())[0] == 0


def test_texts_and_lines_as_json(run, student, domain):
    texts = ["a good\tread", "\u4e66 awful"]
    answers = Predictor.from_pretrained(student, device="cpu")(texts, domain=domain)
    expected = [{"text": text, **answer} for text, answer in zip(texts, answers, strict=True)]
    status, output, errors = run(student, "--domain", domain, "--json", *texts)
    assert (status, [json.loads(line) for line in output.splitlines()], errors) == (0, expected, "")
    lines = f"{texts[0]}\n\n{texts[1]}\n".encode()
    flags = ("--domain", domain, "--json", "--all-labels", "--on-bad-row", "blank")
    first, blank, last = [json.loads(line) for line in run(student, *flags, given=lines)[1].splitlines()]
    assert blank == {"text": "", "label": None, "score": None, "scores": {}}
    assert [each["label"] for each in (first, last)] == [each["label"] for each in expected]
    assert sum(first["scores"].values()) == pytest.approx(1)
    assert max(first["scores"].values()) == first["score"]


def test_a_table_as_json_says_where_it_is(run, student, domain, tmp_path):
    (tmp_path / "in.csv").write_text("review\ngood\nbad\n")
    status, output, errors = run(student, "--domain", domain, "--json", "--input", "in.csv", "--output", "out.csv")
    assert (status, json.loads(output)) == (0, {"texts": 2, "output": "out.csv"})
    assert errors.endswith("2 texts labelled: out.csv\n")
    refused = run(student, "--domain", domain, "--json", "--input", "in.csv", "--output", "-")
    assert refused[:2] == (2, "")
    assert "--json: what --output - writes is data already" in refused[2]
