"""docs/recipe.schema.json is what the code says, for editors and forms that read it from the repository."""

import json
from pathlib import Path

from hrkd.cli import main
from hrkd.recipe.codes import CODES, SEVERITIES
from hrkd.recipe.fields import recipe_fields
from hrkd.recipe.loading import recipe_json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "recipe.schema.json"


def test_the_published_schema_is_that_of_the_code():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == recipe_json_schema(), "make schema writes it anew"


def test_the_published_schema_is_written_as_the_command_writes_it(capsys):
    assert main(["recipe", "--schema"]) == 0
    assert capsys.readouterr().out == PUBLISHED.read_text(encoding="utf-8"), "make schema writes it anew"


def test_the_schema_describes_every_field():
    text = PUBLISHED.read_text(encoding="utf-8")
    assert all(f'"{field.path[-1]}"' in text for field in recipe_fields())


def test_codes_are_declared_whole():
    for name, code in CODES.items():
        assert name == code.code
        assert code.severity in SEVERITIES
        assert all(each.endswith((".", "?")) for each in (code.means, code.matters, code.advice)), name
        assert not code.title.endswith("."), name
    assert len({code.title for code in CODES.values()}) == len(CODES)
