"""What `import otp` gives: each name is documented, and in the overview."""

from __future__ import annotations

import inspect
import re

import pytest

import otp


def test_the_overview_names_all_and_nothing_else() -> None:
    assert otp.__doc__ is not None
    words = set(re.findall(r"\w+", otp.__doc__.partition("A tree,")[2]))
    assert set(otp.__all__) <= words
    unknown = {w for w in words if re.fullmatch(r"[A-Z]\w*[a-z][A-Z]\w*", w)} - set(otp.__all__)
    assert not unknown


@pytest.mark.parametrize("name", sorted(otp.__all__))
def test_a_public_name_says_what_it_is(name: str) -> None:
    """Of its own: what a base class or a type of the library says is of no help."""
    found = getattr(otp, name)
    text = vars(found).get("__doc__") if isinstance(found, type) else inspect.getdoc(found)
    assert text and text.strip()
    assert name in dir(otp)
