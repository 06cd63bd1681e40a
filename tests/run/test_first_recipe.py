import json
import random

import pytest
import yaml

from hrkd.cli import main
from hrkd.recipe.loading import load_recipe, recipe_json_schema
from hrkd.run.check import check
from hrkd.run.prepare import load_labelled

GOOD, BAD = ("wunderbar", "prima"), ("kaputt", "billig")


def run(*arguments):
    return main([str(each) for each in arguments])


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Semicolons, a byte order mark, odd names."""
    monkeypatch.chdir(tmp_path)
    draw, lines = random.Random(0), ["nr;Kommentar;sterne;shop_section;datum"]
    for i in range(240):
        section, label = ("Bücher", "Küche")[i % 2], ("positiv", "negativ")[i // 2 % 2]
        words = [f"{section[0]}{draw.randrange(40)}" for _ in range(6)] + [
            draw.choice(GOOD if i // 2 % 2 == 0 else BAD)
        ]
        lines.append(f"{i};{' '.join(words)};{label}{' ' * (i == 7)};{section};2024-01-0{i % 9 + 1}")
    file = tmp_path / "bewertungen.csv"
    file.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_from_a_table_to_a_recipe_that_is_accepted(table, capsys):
    assert run("init", "bewertungen.csv") == 0
    told = capsys.readouterr().out
    assert "not used: 'datum', dates" in told
    assert told.splitlines()[-1] == "next: hrkd check my.yaml"
    recipe = load_recipe("my.yaml")
    data = recipe.data
    assert (data.text, data.label, data.domain, data.source) == (
        "Kommentar",
        "sterne",
        "shop_section",
        "bewertungen.csv",
    )
    assert (recipe.teacher.model, str(recipe.run.output)) == ("bert-base-uncased", "runs/bewertungen")
    found = check("my.yaml")
    assert not [each for each in found.findings if each.severity == "error"]
    lines = (table.parent / "my.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=recipe.schema.json"
    assert json.loads((table.parent / "recipe.schema.json").read_text()) == recipe_json_schema()
    assert any("sterne" in line and "# 2 different values" in line for line in lines)
    assert any("do not look English" in line for line in lines)


def test_a_recipe_is_never_overwritten_unasked(table, capsys):
    (table.parent / "my.yaml").write_text("mine")
    assert run("init", table) == 2
    assert "is there already; name another file (--output)" in capsys.readouterr().err
    assert (table.parent / "my.yaml").read_text() == "mine"
    assert run("init", table, "--overwrite", "--teacher", "other/encoder", "--no-schema") == 0
    assert load_recipe("my.yaml").teacher.model == "other/encoder"
    assert not (table.parent / "recipe.schema.json").exists()
    assert not (table.parent / "my.yaml").read_text().startswith("# yaml-language-server")


def test_data_are_not_taken_for_the_recipe(table, capsys):
    before = table.read_bytes()
    assert run("init", table, "--output", table, "--overwrite") == 2
    assert "ends in .yaml" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_a_schema_of_somebody_else_stays(table, capsys):
    schema = table.parent / "recipe.schema.json"
    schema.write_text('{"title": "dishes"}')
    assert run("init", table) == 0
    assert "none of hrkd's" in capsys.readouterr().out
    assert schema.read_text() == '{"title": "dishes"}'
    assert "yaml-language-server" not in (table.parent / "my.yaml").read_text()
    schema.write_text(json.dumps({"$id": recipe_json_schema()["$id"], "title": "older"}))
    assert run("init", table, "--overwrite") == 0
    assert json.loads(schema.read_text()) == recipe_json_schema()


def test_columns_are_listed_where_text_or_label_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,when\n" + "\n".join(f"{i},2024-01-01" for i in range(30)) + "\n")
    assert run("init", "t.csv") == 2
    told = capsys.readouterr().err
    assert "no column looks like a text or a label" in told
    assert "  a: another number in each row, as ids have\n  when: the value 2024-01-01 (30) in all rows" in told
    assert not (tmp_path / "my.yaml").exists()


def test_two_columns_of_one_name_are_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},a fine text number {i} of many words,{('good', 'bad')[i % 2]},again" for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["n,text,label,text", *rows]))
    assert main(["init", "rows.csv"]) == 2
    assert "rows.csv: more than one column is called 'text'; rename the others" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.yaml"))


def test_files_of_a_folder_are_domains_where_no_column_is(table, capsys):
    lines = [";".join(line.split(";")[:3]) for line in table.read_text(encoding="utf-8-sig").splitlines()]
    folder = table.parent / "folder"
    folder.mkdir()
    for name in ("books", "films"):
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    assert run("init", folder, "--output", "f.yaml") == 0
    why = "no column looks like a domain, and books.csv, films.csv have the same columns: each file is taken for one"
    assert why in " ".join(capsys.readouterr().out.split())
    written = (table.parent / "f.yaml").read_text(encoding="utf-8")
    assert f"domain: file_name # {why}" in " ".join(written.split())
    data = load_recipe("f.yaml").data
    found = load_labelled(data, None)[0]
    assert found.rows_by_domain() == {"books": 240, "films": 240}
    (folder / "films.csv").write_text("nr;Kommentar;sterne;mehr\n1;gut;positiv;x\n", encoding="utf-8")
    assert run("init", folder, "--output", "f.yaml", "--overwrite") == 0
    assert "no column looks like a domain; every row needs one" in " ".join(capsys.readouterr().out.split())


def test_no_domain_is_told_with_what_to_do(table, capsys):
    lines = [";".join(line.split(";")[:3]) for line in table.read_text(encoding="utf-8-sig").splitlines()]
    table.write_text("\n".join(lines), encoding="utf-8")
    assert run("init", table) == 0
    assert "no column looks like a domain; every row needs one" in " ".join(capsys.readouterr().out.split())
    assert "# no column looks like a domain" in (table.parent / "my.yaml").read_text(encoding="utf-8")


def test_names_that_yaml_would_read_otherwise_are_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    rows = [f"{' '.join(draw.choices('abcdefgh', k=9))},{draw.choice(['good', 'bad'])},{i % 3}" for i in range(90)]
    (tmp_path / "t: #1.csv").write_text("\n".join(["yes,no,#: x", *rows]) + "\n")
    assert run("init", "t: #1.csv") == 0
    data = yaml.safe_load((tmp_path / "my.yaml").read_text())["data"]
    assert (data["source"], data["text"], data["label"], data["domain"]) == ("t: #1.csv", "yes", "no", "#: x")


def test_a_research_set_needs_no_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "fdu"
    folder.mkdir()
    (folder / "books.task.train").write_text("1\tfine\n0\tpoor\n")
    assert run("init", "fdu") == 0
    assert yaml.safe_load((tmp_path / "my.yaml").read_text())["data"] == {"source": "fdu"}


def test_rows_without_a_text_are_counted_apart(table, capsys):
    assert run("init", table.name) == 0
    assert "bewertungen.csv: 240 rows, 5 columns" in capsys.readouterr().out
    with table.open("a", encoding="utf-8") as file:
        file.write(";;;;\n241; ;positiv;Küche;2024-01-01\n")
    assert run("init", table.name, "--overwrite") == 0
    assert "bewertungen.csv: 240 rows with a text and 2 without, 5 columns" in capsys.readouterr().out
    assert "240 rows with a text and 2 without" in (table.parent / "my.yaml").read_text(encoding="utf-8")
