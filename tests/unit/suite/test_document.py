"""docs/experiments.md says what the types say."""

from pathlib import Path

from plugins.suite import schema
from plugins.suite.document import document, with_inner
from plugins.suite.options import ARM_OPTIONS

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_committed_reference_is_that_of_the_types():
    text = (REPOSITORY / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert text == document(), "run python -m plugins.suite.document > docs/experiments.md"


def test_every_key_of_every_file_is_in_it_with_its_words():
    text = document()
    tops = [schema.Configuration, schema.Study, schema.Ablation, schema.Models, schema.Metrics, schema.Manifest]
    models = {model for top in (*tops, *schema.RECIPES.values(), *ARM_OPTIONS.values()) for model in with_inner(top)}
    assert len(models) >= 40
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            assert f"| `{field.alias or name}` |" in text, f"{model.__name__}.{name}"
