"""Servers in processes of their own: what they and their callers see."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

import otp
from otp.messages import ChildInfo, WireChild, WireSupervisor
from otp.testing import Start, eventually
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import restart, row

TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec("counter", w.Counter, args={"start": 10}, name="the-counter"),
        otp.ChildSpec("other", "tests.system.workers:Counter"),
        otp.ChildSpec("watcher", w.Watcher),
        otp.ChildSpec("frail", w.Frail),
        otp.ChildSpec("transient", w.Counter, restart="transient"),
        otp.ChildSpec("ignores", odd.Ignores),
        otp.ChildSpec("boss", w.Boss),
        otp.Supervisor("pool", max_restarts=1000),
        otp.Supervisor(
            "jobs",
            strategy="simple_one_for_one",
            max_restarts=1000,
            children=[otp.ChildSpec("job", w.Counter, args={"start": 5}, restart="transient")],
        ),
    ],
)


@pytest.fixture(scope="module")
def shared() -> Iterator[otp.Node]:
    with otp.start(TREE) as node:
        yield node


@pytest.fixture
def node(shared: otp.Node) -> otp.Node:
    """The tree, each of whose servers has just started: a test leaves nothing to the next."""
    for path in ("counter", "watcher", "frail"):
        restart(shared, path)
    return shared


# ---------------------------------------------------------------- calls


def test_a_call_runs_in_another_process(node: otp.Node) -> None:
    assert node.call("counter", w.Add(5)) == 15
    assert node.call("the-counter", w.Add(1)) == 16
    assert node.call("counter@local", w.Add(1)) == 17
    pid = node.call("counter", w.Pid())
    assert pid == row(node, "root/counter").pid != os.getpid()
    assert node.call(row(node, "root/counter").process, w.Add(0)) == 17


def test_casts_and_sends_arrive_in_order(node: otp.Node) -> None:
    for number in range(20):
        node.cast("counter", w.Note(f"{number}"))
        node.send("counter", w.Note(f"{number}"))
    expected = [f"{how} {number}" for number in range(20) for how in ("cast", "info")]
    assert node.call("counter", w.Noted()) == expected


def test_large_messages_go_through_in_both_directions(node: otp.Node) -> None:
    body = os.urandom(17 * 1024 * 1024)
    assert node.call("counter", w.Echo(body), timeout=20) == body
    with pytest.raises(ValueError, match="send it in parts"):
        node.call("counter", w.Echo(bytes(64 * 1024 * 1024)))
    assert node.call("counter", w.Add(0)) == 10


def test_a_deferred_reply(node: otp.Node) -> None:
    assert node.call("counter", w.Later(0.001)) == "later"


def test_a_late_reply_is_a_timeout_and_disturbs_nobody(node: otp.Node) -> None:
    with pytest.raises(otp.CallTimeout, match=r"call Later to counter: no reply in 0.05 s") as info:
        node.call("counter", w.Later(0.1), timeout=0.05)
    assert isinstance(info.value, TimeoutError)
    assert node.call("counter", w.Later(0.1)) == "later"
    assert node.call("counter", w.Add(1)) == 11


def test_a_server_that_crashes_tells_its_caller_why(node: otp.Node) -> None:
    with (
        node.expect(otp.ChildExited, "root/counter") as exited,
        pytest.raises(otp.ServerDown, match="ValueError: boom") as info,
    ):
        node.call("counter", w.Crash("boom"))
    assert info.value.reason.kind == "crash"
    assert isinstance(info.value, ConnectionError)
    assert exited.report.reason == info.value.reason
    assert exited.report.restart
    assert node.call("counter", w.Add(0)) == 10


def test_what_an_exception_says_may_be_long_or_no_text_at_all(node: otp.Node) -> None:
    with pytest.raises(otp.ServerDown) as info:
        node.call("counter", w.Crash("x" * 1_000_000))
    assert len(info.value.reason.text) < 10_000
    with pytest.raises(otp.ServerDown, match="ValueError"):
        node.call("counter", w.Crash("surrogate"))


def test_all_who_wait_hear_of_the_end(node: otp.Node) -> None:
    errors: list[Exception] = []

    def call() -> None:
        try:
            node.call("counter", w.Later(60), timeout=30)
        except otp.OtpError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(5)]
    with node.expect(otp.ChildStarted, "root/counter"):
        for thread in threads:
            thread.start()
        eventually(lambda: node.call("counter", w.Waiting()) == 5)
        node.kill("counter")
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in errors] == [otp.ServerDown] * 5


def test_what_a_server_refuses_with_is_raised_at_the_caller(node: otp.Node) -> None:
    with pytest.raises(w.Poor) as info:
        node.call("counter", w.Spend(11))
    assert (info.value.need, info.value.have) == (11, 10)
    assert node.call("counter", w.Spend(10)) == 0


def test_a_request_that_nobody_accepts_harms_nobody(node: otp.Node) -> None:
    with pytest.raises(otp.Undecodable, match="Counter does not accept it"):
        node.call("counter", w.Unknown())
    with pytest.raises(otp.Undecodable, match="a supervisor does not accept it"):
        node.call("pool", w.Unknown())
    node.cast("counter", w.Unknown())
    node.send("counter", w.Unknown())
    assert node.call("counter", w.Add(0)) == 10


def test_a_reply_that_is_not_what_was_declared(node: otp.Node) -> None:
    with pytest.raises(otp.OtpError, match="the reply is not what it declares"):
        node.call("counter", w.Wrong())
    assert node.call("counter", w.Add(0)) == 10


def test_nobody_is_there(node: otp.Node) -> None:
    for address in ("nobody", "counter@far", "", "via:", "via:x", "via:keys:1", "<1.2@local>"):
        with pytest.raises((otp.NoProcess, otp.NodeDown)):
            node.call(address, w.Add(1))
    node.cast("nobody", w.Note("lost"))
    assert node.call("watcher", w.Ask("nobody", 1)) == "NoProcess"


def test_servers_call_each_other(node: otp.Node) -> None:
    assert node.call("watcher", w.Ask("counter", 3)) == "13"
    assert node.call("watcher", w.Pursue("counter", 3)) == "16"
    assert node.call("watcher", w.Pursue("nobody", 3)) == "NoProcess"
    assert node.call("watcher", w.Ask("watcher", 1, seconds=0.02)) == "CallTimeout"


# ---------------------------------------------------------------- ends


def test_stop_ends_as_it_says(node: otp.Node) -> None:
    before = row(node, "root/transient")
    with node.expect(otp.ChildExited, "root/transient") as exited, pytest.raises(otp.ServerDown):
        node.call("transient", w.Leave("out of order"))
    assert (exited.report.reason, exited.report.restart) == (
        otp.Reason("crash", "out of order"),
        True,
    )
    eventually(lambda: row(node, "root/transient").pid not in (0, before.pid))
    with node.expect(otp.ChildExited, "root/transient") as exited, pytest.raises(otp.ServerDown):
        node.call("transient", w.Leave("normal"))
    assert (exited.report.reason, exited.report.restart) == (otp.Reason("normal"), False)
    assert node.restart_child("/", "transient").state == "running"


def test_sys_exit_in_a_handler_is_an_end_with_a_reason(node: otp.Node) -> None:
    with pytest.raises(otp.ServerDown, match="SystemExit: left"):
        node.call("counter", w.Leave("exit"))


def test_ignore_is_a_start_without_a_process(node: otp.Node) -> None:
    info = next(child for child in node.which_children() if child.id == "ignores")
    assert (info.state, info.process) == ("undefined", None)


# ---------------------------------------------------------------- monitors and links


def seen(node: otp.Node, path: str, count: int) -> list[str]:
    """What the watcher has seen, once that is so much."""
    return eventually(
        lambda: found if len(found := node.call(path, w.Seen())) >= count else None, what="signals"
    )


def test_a_monitor_fires_once(node: otp.Node) -> None:
    ref = node.call("watcher", w.Watch("counter"))
    gone = node.call("watcher", w.Watch("nobody"))
    assert seen(node, "watcher", 1) == [f"down {gone} nobody noproc"]
    unwanted = node.call("watcher", w.Watch("counter"))
    node.call("watcher", w.Unwatch(unwanted))
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    assert seen(node, "watcher", 2)[1:] == [f"down {ref} counter killed"]


def test_a_supervisor_can_be_monitored(node: otp.Node) -> None:
    node.start_child("pool", otp.Supervisor("inner"))
    ref = node.call("watcher", w.Watch("pool/inner"))
    node.terminate_child("pool", "inner")
    assert seen(node, "watcher", 1) == [f"down {ref} pool/inner shutdown"]
    node.delete_child("pool", "inner")


def test_a_link_is_felt_on_both_sides(node: otp.Node) -> None:
    counter = row(node, "root/counter").process
    node.call("watcher", w.Tie("counter"))
    node.call("watcher", w.Tie("nobody"))
    assert seen(node, "watcher", 1) == ["exit nobody noproc"]
    node.call("frail", w.Tie("watcher"))
    node.call("frail", w.Tie("counter"))
    frail = row(node, "root/frail").process
    with node.expect(otp.ChildExited, "root/frail") as exited:
        node.kill("counter")
    assert exited.report.reason.kind == "killed"
    assert seen(node, "watcher", 3)[1:] == [f"exit {counter} killed", f"exit {frail} killed"]


def test_an_undone_link_is_not_felt(node: otp.Node) -> None:
    node.call("frail", w.Tie("counter"))
    node.call("frail", w.Untie("counter"))
    before = row(node, "root/frail").pid
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    ref = node.call("watcher", w.Watch("nobody"))
    assert seen(node, "watcher", 1) == [f"down {ref} nobody noproc"]
    assert row(node, "root/frail").pid == before


# ---------------------------------------------------------------- supervisors


def test_a_worker_asks_supervisors(node: otp.Node) -> None:
    assert node.call("boss", w.Hire("pool", "w1")) == "pool/w1"
    assert node.call("pool/w1", w.Add(7)) == 7
    assert node.call("boss", w.Hire("pool", "w1")) == "already_started"
    node.terminate_child("pool", "w1")
    node.delete_child("pool", "w1")
    with pytest.raises(otp.NoProcess):
        node.call("pool/w1", w.Add(7))


def test_dynamic_children(node: otp.Node) -> None:
    started = [node.start_dynamic("jobs", f"j{n}", start=n) for n in range(3)]
    assert [node.call(f"jobs/j{n}", w.Add(0)) for n in range(3)] == [0, 1, 2]
    plain = node.start_dynamic("jobs", "plain")
    assert node.call("jobs/plain", w.Add(0)) == 5
    with node.expect(otp.ChildStarted, "root/jobs/j2"):
        node.kill("jobs/j2")
    assert node.call("jobs/j2", w.Add(0)) == 2
    infos: list[ChildInfo] = node.which_children("jobs")
    assert [info.id for info in infos] == ["j0", "j1", "j2", "plain"]
    for info in infos:
        assert info.process is not None
        node.terminate_child("jobs", info.process)
    assert node.count_children("jobs").active == 0
    assert plain.process not in {info.process for info in started}


def test_a_child_is_named_by_its_pid_only_where_it_has_no_id_and_is_no_stranger(
    node: otp.Node,
) -> None:
    job, stranger = node.start_dynamic("jobs", "job"), row(node, "root/counter")
    assert job.process is not None
    for process, word in ((stranger.process, "not_found"), ("<gone.1@elsewhere>", "not_found")):
        with pytest.raises(otp.SupervisorError, match=word):
            node.terminate_child("jobs", process)
    with pytest.raises(otp.SupervisorError, match="not_found"):
        node.terminate_child("/", stranger.process)
    node.terminate_child("jobs", job.process)
    node.terminate_child("jobs", job.process)  # it is dead already, and may have been a child


def test_the_specification_of_a_child(node: otp.Node) -> None:
    spec = node.get_childspec("/", "pool")
    assert isinstance(spec, WireSupervisor) and spec.strategy == "one_for_one"
    job = node.start_dynamic("jobs", "job")
    assert job.process is not None
    template = node.get_childspec("jobs", job.process)
    assert isinstance(template, WireChild) and template.shutdown == 5.0
    node.terminate_child("jobs", job.process)
    with pytest.raises(otp.SupervisorError, match="not_found"):
        node.get_childspec("/", "nobody")


def test_a_flood_does_not_grow_a_server_that_waits(otp_start: Start) -> None:
    tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", w.Counter)])
    node = otp_start(tree, log="none")
    for number in range(30_000):
        node.cast("counter", w.Note(f"{number}"))
    notes = node.call("counter", w.Noted(), timeout=20)
    assert notes == [f"cast {number}" for number in range(30_000)]
