from __future__ import annotations

import json

import pytest

from otp.log_view import Prefixes, as_json, clean, decode, head, short, text_of

RED, RESET = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("text", "coloured", "plain"),
    [
        ("all right: ä", "all right: ä", "all right: ä"),
        ("a\tb", "a\tb", "a\tb"),
        (f"{RED}red", f"{RED}red{RESET}", "red"),
        ("\x1b[2J\x1b[Hgone", "gone", "gone"),
        ("\x1b]0;title\x07here", "here", "here"),
        ("\x1b]8;;x\x1b\\link", "link", "link"),
        ("10%\r20%\r", "20%", "20%"),
        ("\x00\x07\x9b", "???", "???"),
        ("end\x1b", "end", "end"),
        ("\x1bM\x1b[31", "?", "?"),
    ],
)
def test_what_a_program_wrote_does_nothing_to_a_terminal(
    text: str, coloured: str, plain: str
) -> None:
    if coloured != "?":
        assert clean(text, colours=True) == coloured
        assert clean(text, colours=False) == plain
    assert "\x1b" not in clean(text, colours=False)


def test_paths_are_aligned_and_coloured_each_in_its_own() -> None:
    plain = Prefixes(colours=False)
    plain.add("web")
    plain.add("pool/w1")
    assert plain.lines("web", ["a", "b"]) == "web     | a\nweb     | b\n"
    coloured = Prefixes(colours=True)
    one, two = coloured.lines("web", ["a"]), coloured.lines("api", ["a"])
    assert one[5:] != two[5:] and one[:5] != two[:5]
    assert one == f"\x1b[36mweb | {RESET}a\n"


def test_lines_as_json_are_read_as_they_were() -> None:
    texts = [text_of(b"\xff\x00 caf\xc3\xa9"), '"quoted"', ""]
    found = as_json(head(1.5, "n", "root/web", "stderr"), texts).splitlines()
    assert [decode(line).line for line in found] == ["\\xff\x00 café", '"quoted"', ""]
    expected = {"at": 1.5, "node": "n", "path": "root/web", "stream": "stderr", "line": ""}
    assert json.loads(found[2]) == expected


@pytest.mark.parametrize(
    ("path", "shown"), [("root/pool/w1", "pool/w1"), ("otp/mailroom", "otp/mailroom"), ("n", "n")]
)
def test_a_path_without_its_root(path: str, shown: str) -> None:
    assert short(path) == shown
