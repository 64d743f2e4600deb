from __future__ import annotations

import grp
import os
import pwd

import pytest

from otp.users import find
from otp.wire_tree import Identity

ROOT = pwd.getpwuid(0)


def test_a_name_or_its_number_is_a_user_with_all_its_groups() -> None:
    groups = tuple(dict.fromkeys((ROOT.pw_gid, *os.getgrouplist("root", ROOT.pw_gid))))
    expected = Identity(0, ROOT.pw_gid, groups, "root", ROOT.pw_dir)
    assert find("root") == find("0") == expected


def test_a_group_may_be_named() -> None:
    name = grp.getgrgid(1).gr_name
    assert find(f"root:{name}").gid == find("root:1").gid == 1
    assert find("root:1").groups[0] == 1


def test_a_number_needs_no_entry() -> None:
    assert find("4000000001") == Identity(4000000001, 4000000001, (4000000001,))
    assert find("4000000001:7") == Identity(4000000001, 7, (7,))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no-such", "there is no user 'no-such' on this machine"),
        ("no\0such", "there is no user"),
        ("4294967295", "there is no user '4294967295'"),
        ("99999999999", "there is no user"),
        ("²", "there is no user"),
        ("root:no-such", "there is no group 'no-such' on this machine"),
    ],
)
def test_who_there_is_not(text: str, problem: str) -> None:
    with pytest.raises(LookupError, match=problem):
        find(text)
