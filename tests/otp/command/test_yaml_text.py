from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.command.yaml_text import Block, flow, literal, written
from otp.yaml_nodes import Reader, choose, core, parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def read(text: str) -> Any:
    return core(Reader({}).read(choose(parse(text, "it"), "it", None), "it"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("--port", "--port"),
        ("6390", '"6390"'),
        ("10s", "10s"),
        ("on", '"on"'),
        ("", '""'),
        ("a: b", '"a: b"'),
        (["a", 1, None, True], "[a, 1, null, true]"),
        ({"k": "v"}, "{k: v}"),
    ],
)
def test_how_a_value_is_written(value: object, text: str) -> None:
    assert flow(value) == text


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS.filter(lambda key: key != "<<"), st.lists(TEXTS)))
def test_what_is_written_is_what_is_read(value: dict[str, list[str]]) -> None:
    escaped = {key: [literal(one) for one in items] for key, items in value.items()}
    assert read(written(Block({"x": escaped}))) == {"x": value}


def test_children_comments_and_what_is_dropped() -> None:
    root = Block(
        {"id": "r"},
        ["about\nall"],
        [
            Block({"id": "a", "n": 1}, ["about a"]),
            Block({"id": "b", "n": 2}, ["gone:"], [Block({"id": "d", "n": 3})], dropped=True),
            Block({"id": "s"}, [], [Block({"id": "c"})]),
        ],
    )
    assert written(root).splitlines() == [
        "# about all",
        "id: r",
        "children:",
        "  # about a",
        "  - id: a",
        "    n: 1",
        "  # gone:",
        "  # - id: b",
        "  #   n: 2",
        "  #   children:",
        "  #     - id: d",
        "  #       n: 3",
        "  - id: s",
        "    children:",
        "      - id: c",
    ]
    assert written(Block({"id": "r"}, [], [])) == "id: r\nchildren: []\n"
