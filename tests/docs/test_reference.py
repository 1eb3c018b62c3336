from detq.cli.app import COMMANDS
from tools.reference import PAGE, reference


def test_the_command_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m tools.reference"


def test_every_command_has_a_section_with_examples() -> None:
    text = reference()
    for name in COMMANDS:
        section = text.partition(f"\n## detq {name}\n")[2].partition("\n## ")[0]
        assert f"```text\ndetq {name}" in section
        assert f"detq {name}" in section.partition("```sh\n")[2].partition("```")[0]
        assert "* `--json`: " in section
    assert "Example: " not in text
    assert "jetpack5.0" not in text  # the table of targets is a page of its own
