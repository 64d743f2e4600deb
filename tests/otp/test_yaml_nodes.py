from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from otp import yaml_nodes
from otp.errors import SpecError
from otp.yaml_nodes import FILE_BYTES_MAX, NESTING_MAX, NODES_MAX, Reader, choose, core, parse


def value(text: str, environ: Mapping[str, str] | None = None) -> Any:
    reader = Reader(environ or {})
    node = reader.read(choose(parse(text, "f"), "f", None), "f")
    reader.raise_problems()
    return core(node)


def problem(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(SpecError) as raised:
        value(text, environ)
    return str(raised.value)


@pytest.fixture(params=["as installed", "pure Python"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML may come without its C parser; both must give the same."""
    if request.param == "pure Python":
        loader = type(
            "Loader", (yaml.SafeLoader,), {"resolve": vars(yaml_nodes._Loader)["resolve"]}
        )
        monkeypatch.setattr(yaml_nodes, "_Loader", loader)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *[(word, word) for word in ("on", "off", "yes", "no", "y", "n", "Yes", "ON")],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("9" * 300, int("9" * 300)),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        *[
            (text, text)
            for text in ("0755", "0o14", "0x1F", "+7", "1_000", "12:30", "2024-01-31", "1.", ".5")
        ],
        ("1.2.3", "1.2.3"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("|\n  7", "7"),
        ("!!str 7", "7"),
        ("=", "="),
    ],
)
def test_scalars_have_the_types_of_json_and_else_stay_text(written: str, expected: Any) -> None:
    found = value(f"a: {written}")["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_a_number_beyond_all_bounds_is_text_and_nan_is_a_number() -> None:
    assert value(f"a: {'9' * 5000}") == {"a": "9" * 5000}
    assert math.isnan(value("a: .nan")["a"])


def test_keys_are_text_as_written() -> None:
    assert value("{1: a, on: b, null: c, 0755: d}") == dict(
        zip(("1", "on", "null", "0755"), "abcd", strict=True)
    )


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("b: {k: 3, <<: {k: 1}}", {"b": {"k": 3}}),
        ("b: {<<: [{k: 1}, {k: 2, l: 2}]}", {"b": {"k": 1, "l": 2}}),
        ("'<<': 1", {"<<": 1}),
        ("\ufeffa: [1, x]", {"a": [1, "x"]}),
        ("a: é🗳", {"a": "é🗳"}),
    ],
)
def test_aliases_and_merges_are_expanded(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: the key 'a' is here twice, first in line 1"),
        ("{b: {c: 1, c: 2}}", "f:1:12: the key 'c' is here twice, first in line 1"),
        ("a: !!int 7", "f:1:4: tags such as 'tag:yaml.org,2002:int' have no meaning here"),
        ("a: !!python/object:os.system {}", "have no meaning here: leave it out"),
        ("{[1]: 2}", "f:1:2: a key must be text"),
        ("<<: 7", "f:1:5: `<<` takes a mapping, or a list of mappings"),
        ("a: [1", "f:"),
        ("a: *x", "f:1:4: this is not YAML: found undefined alias"),
        ("a: b: c", "f:1:5: this is not YAML: mapping values are not allowed"),
        ("a:\n\t- b", "f:2:1: this is not YAML: found character"),
        ("é: \x07", "f:1:4: the character '\\x07' is not allowed in YAML"),
        ("a: 1\né \ud800", "f:2:3: the character '\\ud800' is not allowed in YAML"),
        ("", "f: is empty: write a supervisor"),
        ("# nothing\n---\n---\n", "f: is empty"),
        ("%YAML 3.0\n--- a", "this is not YAML: found incompatible YAML document"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text: str, expected: str) -> None:
    found = problem(text)
    assert expected in found
    assert found.startswith("f:")
    assert "\n" not in found


def test_only_the_first_problem_of_a_place_is_told_and_all_places_are_in_order() -> None:
    found = problem("b: ${X}\na: &a !x ${Y}\nc: *a\nd: 1\nd: 2")
    assert [line[:5] for line in found.splitlines()] == ["f:1:4", "f:2:4", "f:5:1"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${A}", "1"),
        ("x${A}y${B}z", "x1ytwoz"),
        ("${C:-dflt}", "dflt"),
        ("${EMPTY:-dflt}", "dflt"),
        ("${EMPTY}", ""),
        ("${C:-}", ""),
        ("${A:-dflt}", "1"),
        ("$${A} $A $ $$", "${A} $A $ $$"),
        ("${SHELL}", "{a: [1]} # no YAML"),
        ("${TWICE}", "${A}"),
    ],
)
def test_variables_come_from_the_environment_as_text(written: str, expected: str) -> None:
    environ = {
        "A": "1", "B": "two", "EMPTY": "", "SHELL": "{a: [1]} # no YAML", "TWICE": "${A}",
    }  # fmt: skip
    assert value(f'a: "{written}"', environ) == {"a": expected}


def test_an_unquoted_variable_has_the_type_of_its_value() -> None:
    assert value("n: ${N}\non: ${ON}", {"N": "7", "ON": "on"}) == {"n": 7, "on": "on"}


@pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A-b}", "${A", "x ${ A}", "${A:b}"])
def test_a_broken_variable_is_named_with_its_place(written: str) -> None:
    assert problem(f"a:\n  - '{written}'").startswith("f:2:5: `${` must go on as ${NAME}")


def test_an_unset_variable_is_named_with_its_place() -> None:
    expected = "f:1:4: the environment has no NOPE: set it, or write ${NOPE:-...}"
    assert problem("a: ${NOPE}") == expected


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&a [*a]", "aliases expand to too much here; does one contain itself?"),
        ("&a {b: *a}", "aliases expand to too much here"),
        ("&a {<<: *a}", "aliases expand to too much here"),
        (LAUGHS, "aliases expand to too much here"),
        ("[" * 5000, f"there are more than {NESTING_MAX} levels here"),
    ],
    ids=["list", "mapping", "merge", "laughs", "deep"],
)
def test_what_expands_or_nests_without_end_is_refused(text: str, expected: str) -> None:
    assert expected in problem(text)


def test_sizes_are_bounded() -> None:
    assert problem("a" * (FILE_BYTES_MAX + 1)) == f"f: is larger than {FILE_BYTES_MAX:,} bytes"
    many = f"more than {NODES_MAX:,} values"
    assert many in problem("[" + "a," * (NODES_MAX + 1) + "]")
    assert "expand to more than" in problem(f"a: '{'${X}' * 1000}'", {"X": "x" * 100_000})


def test_of_several_documents_one_is_chosen_by_its_id() -> None:
    documents = parse("id: a\nn: 1\n---\nid: b\nn: 2\n---\n- c\n", "f")
    assert choose(documents, "f", "b") is documents[1]
    for tree, expected in {
        None: "f: holds 3 trees: choose 'a', 'b', '?' by tree=...",
        "c": "f: has not exactly one tree with the id 'c'; it holds 'a', 'b', '?'",
    }.items():
        with pytest.raises(SpecError) as raised:
            choose(documents, "f", tree)
        assert str(raised.value) == expected
