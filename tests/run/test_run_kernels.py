import pytest

from hrkd.models import cpu_kernels
from hrkd.run.commands import train_teacher
from tiny import tiny_recipe


@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_a_recipe_chooses_the_kernels_of_its_run(kernels, tmp_path, monkeypatch):
    answered = []

    def noted(answer):
        def call(*args, **kwargs):
            answered.append(answer.__name__)
            return answer(*args, **kwargs)

        return call

    monkeypatch.setattr(cpu_kernels, "ANSWERS", {key: noted(each) for key, each in cpu_kernels.ANSWERS.items()})
    train_teacher(tiny_recipe(tmp_path / "run", **{"teacher.training.epochs": 1, "run.kernels": kernels}))
    assert bool(answered) == (kernels == "auto")
