"""What docs/fine_tuning.md says can be done."""

import re

import pytest

from tests.support import ROOT, needs_torch
from tests.test_readme import arguments, parser_of
from training.data.augment import AUGMENTATIONS

TEXT = (ROOT / "docs" / "fine_tuning.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S) for line in block.split("\n") if line]


@needs_torch
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str) -> None:
    found = arguments(command)
    assert found is not None
    name, options = found
    parser_of(name).parse_args(options)


def test_the_table_of_augmentations_is_whole() -> None:
    (table,) = re.findall(r"gets? what:\n\n(.*?)\n\n", TEXT, re.S)
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(AUGMENTATIONS)
