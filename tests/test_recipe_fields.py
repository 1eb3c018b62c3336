import pytest
from msgspec import Struct, inspect, structs

from detq.recipe import Abc, Calibration, ChannelWise, Kl, QPRep, Recipe
from detq.recipe_fields import choices_in, meanings, purpose, sections


@pytest.mark.parametrize("name", sections())
def test_every_section_and_every_field_says_what_it_is_for(name: str) -> None:
    section = sections()[name]
    assert purpose(section)
    told = meanings(section)
    assert [field for field in section.__struct_fields__ if not told.get(field)] == []
    assert set(told) <= set(section.__struct_fields__)


def test_all_sections_are_found() -> None:
    assert next(iter(sections())) == "Recipe"
    assert {Recipe, Calibration, ChannelWise, Kl, QPRep, Abc} <= set(sections().values())


def test_a_section_speaks_for_its_base() -> None:
    told = meanings(Abc)
    assert told["steps"] == "for each layer, block or stage."
    assert told["cache_gb"].startswith("memory for values")
    assert told["joint"] == "learn a whole stage at a time."


def type_of(section: type[Struct], name: str) -> inspect.Type:
    kind = inspect.type_info(section)
    assert isinstance(kind, inspect.StructType)
    return next(field.type for field in kind.fields if field.name == name)


@pytest.mark.parametrize(
    ("section", "name", "choices"),
    [
        (Recipe, "layout", ["channels", "rows"]),
        (Recipe, "activation_bits", ["4 to 8"]),
        (Recipe, "transforms", ["fold_bn", "reparameterize"]),
        (Recipe, "batch", []),
        (Recipe, "checkpoint", []),
        (ChannelWise, "balance", []),
    ],
)
def test_choices(section: type[Struct], name: str, choices: list[str]) -> None:
    assert name in {field.name for field in structs.fields(section)}
    assert sorted(choices_in(type_of(section, name))) == choices
