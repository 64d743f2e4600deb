from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import otp
from otp.messages import RecentReports
from otp.testing import Start, eventually
from tests.otp import programs

AS_NOBODY = """\
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.settimeout(10)
    print("closed" if sock.recv(1) == b"" else "heard")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_let_in_even_where_the_folder_is_open(
    home: Path, otp_start: Start
) -> None:
    node = otp_start(programs.tree())
    control = os.path.join(node.run_dir, "control.sock")
    assert stat.S_IMODE(os.stat(node.run_dir).st_mode) == 0o700
    denied = programs.run_python("-c", AS_NOBODY, control)
    assert "PermissionError" in denied.stderr
    for folder in (node.run_dir, home, home.parent):
        os.chmod(folder, 0o755)
    os.chmod(control, 0o777)
    asked = programs.run_python("-c", AS_NOBODY, control)
    assert asked.stdout == "closed\n", asked.stderr
    assert node.processes()


def test_reports_are_kept_for_those_who_come_later(home: Path, otp_start: Start) -> None:
    node = otp_start(programs.tree())
    reports = node.control.ask(RecentReports(2))
    assert [report.path for report in reports] == ["root/counter", "root/pool"]
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    kinds = [type(report) for report in node.control.ask(RecentReports(2))]
    assert kinds == [otp.ChildExited, otp.ChildStarted]
    assert eventually(lambda: len(node.control.ask(RecentReports(1000)))) >= 5
