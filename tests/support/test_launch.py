import pytest

from hrkd.errors import RecipeError
from hrkd.support.launch import VARIABLES, Launch, launch

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch):
    def change(**variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "0"},
        {"WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "1"},
        {"LOCAL_RANK": "-1"},
    ],
)
def test_one_process(environment, variables):
    environment(**variables)
    assert launch() == Launch(0, 1, is_group=False)
    assert launch().is_first


def test_one_of_several(environment):
    environment(**WHOLE)
    assert launch() == Launch(1, 4, is_group=True, is_first_of_machine=False)
    assert not launch().is_first
    environment(**WHOLE | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    assert launch() == Launch(0, 1, is_group=True)


@pytest.mark.parametrize("name", VARIABLES)
def test_what_is_missing_is_named(environment, name):
    environment(**{each: value for each, value in WHOLE.items() if each != name})
    with pytest.raises(RecipeError, match=f"in the environment speaks of a launch, and {name} is missing; start sev"):
        launch()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "x"}, "RANK=x, WORLD_SIZE=4,.*: RANK cannot be"),
        ({"RANK": "4"}, "RANK cannot be"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE cannot be"),
        ({"WORLD_SIZE": "1"}, "RANK, LOCAL_RANK cannot be"),
        ({"LOCAL_RANK": "1.5"}, "LOCAL_RANK cannot be"),
        ({"MASTER_PORT": "tcp://x"}, "MASTER_PORT cannot be"),
    ],
)
def test_what_cannot_be_is_named(environment, variables, said):
    environment(**WHOLE | variables)
    with pytest.raises(RecipeError, match=said):
        launch()
