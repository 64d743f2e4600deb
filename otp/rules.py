"""What a single value of a tree must be: one rule for each field.

A rule is a function from a value to a message that says what is wrong, or None. A new field gets
an entry in one of the tables at the end.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from otp import sizes, targets
from otp.care import wait_of
from otp.spec import SHUTDOWN_WORDS
from otp.words import did_you_mean, shown

Rule: TypeAlias = Callable[[Any], str | None]

# Paths of nested children and error messages hold ids and names; neither may grow without bound.
ID_CHARS_MAX = 200
REPLICAS_MAX = 10_000  # more of one child than a machine runs: a slip of the pen
PORT_MAX = 65_535
# What a logger writes at a time must fit into a file, or each write would rotate it.
LOG_BYTES_MIN = 64 * 1024
LOG_FILES_MAX = 1_000


def _rule(expected: str, holds: Callable[[Any], bool]) -> Rule:
    return lambda value: None if holds(value) else f"{shown(value)} is not {expected}"


def _optional(rule: Rule) -> Rule:
    return lambda value: None if value is None else rule(value)


def _choice(what: str, *words: str, listed: bool = True) -> Rule:
    use = f": use {', '.join(words[:-1])}{' or ' * (len(words) > 1)}{words[-1]}" if listed else ""

    def rule(value: Any) -> str | None:
        if isinstance(value, str) and value in words:
            return None
        guess = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"{shown(value)} is not a {what}{use}{guess}"

    return rule


def is_text(value: Any) -> bool:
    """Text that can be an argument or an environment variable of a program."""
    return isinstance(value, str) and "\0" not in value


def _is_token(value: Any, forbidden: str) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= ID_CHARS_MAX:
        return False
    return value.isprintable() and not any(c in forbidden or c.isspace() for c in value)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value < float("inf")


def _is_host_port(value: Any) -> bool:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    digits = port.isascii() and port.isdigit()
    return _is_token(host, "/@<>") and digits and int(port[:9]) <= PORT_MAX


def is_loopback(host_port: Any) -> bool:
    """Whether nobody outside of this machine can be at this address."""
    host = host_port.rpartition(":")[0] if isinstance(host_port, str) else ""
    return host in ("localhost", "[::1]") or host.startswith("127.")


def _target(parse: Callable[[str], Any]) -> Rule:
    def rule(value: Any) -> str | None:
        if not is_text(value):
            return f"{shown(value)} is not text"
        try:
            parse(value)
        except ValueError as error:
            return f"{shown(value)} {error}"
        return None

    return rule


def is_mapping(value: Any) -> bool:
    """A mapping that can be keyword arguments or an environment."""
    return isinstance(value, Mapping) and all(is_text(key) for key in value)


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_umask(value: Any) -> bool:
    octal = isinstance(value, str) and 0 < len(value) <= 4 and set(value) <= set("01234567")
    return octal and int(value, 8) <= 0o777


def _is_user(value: Any) -> bool:
    parts = value.split(":") if is_text(value) else []
    return 1 <= len(parts) <= 2 and all(part.strip() == part != "" for part in parts)


def _is_rlimit(value: Any) -> bool:
    if type(value) is int or not isinstance(value, str):
        return type(value) is int and 0 <= value < 2**63
    return value == sizes.INFINITY or type(sizes.normal(value)) is int


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except (re.error, RecursionError, OverflowError):
        return False


def is_list(value: Any) -> bool:
    """What specs take as a list; a set or a generator has no order or only one use."""
    return isinstance(value, list | tuple)


TEXT = _rule("text", is_text)
_MAPPING = _rule("a mapping with text as keys", is_mapping)
_LIST = _rule("a list", is_list)
ID = _rule("an id: it must be text without spaces and / @ : < >", lambda v: _is_token(v, "/@:<>"))
_NAME = _rule("a name: it must be text without spaces and @ : < >", lambda v: _is_token(v, "@:<>"))
HOST_PORT = _rule("of the form host:port, such as 127.0.0.1:7000", _is_host_port)
_PERIOD = _rule(
    "a duration above 0: use seconds, 200ms, 5s or 1m", lambda v: _is_seconds(v) and v > 0
)
_COUNT = _rule("a whole number from 1 on", lambda v: type(v) is int and v >= 1)
_RESTARTS = _rule("a whole number from 0 on", lambda v: type(v) is int and v >= 0)

RLIMIT = _rule("a limit: use a whole number, a size such as 512M, or infinity", _is_rlimit)

_COMMON: dict[str, Rule] = {
    "id": ID,
    "restart": _choice("restart type", "permanent", "transient", "temporary"),
    "shutdown": _rule(
        "a time to stop in: use seconds above 0, 200ms, 5s, 1m, brutal_kill or infinity",
        lambda v: (_is_seconds(v) and v > 0) or (isinstance(v, str) and v in SHUTDOWN_WORDS),
    ),
    "significant": _rule("true or false", lambda v: isinstance(v, bool)),
    "name": _optional(_NAME),
    "essential": _rule("true or false", lambda v: isinstance(v, bool)),
}
CHILD: dict[str, Rule] = _COMMON | {
    "start": _optional(
        _rule("'module:Class', a class or a function", lambda v: isinstance(v, str) or callable(v))
    ),
    "args": _MAPPING,
    "command": _optional(
        _rule("a list, the program first, such as [redis-server, --port, '6390']", is_list)
    ),
    "env": _MAPPING,
    "cwd": _optional(TEXT),
    "stop_signal": _choice("signal such as SIGTERM", *signal.Signals.__members__, listed=False),
    "env_file": _optional(TEXT),
    "user": _optional(_rule("a user: use a name or number, or user:group", _is_user)),
    "umask": _optional(_rule("a umask: use octal text, such as '022'", _is_umask)),
    "nice": _optional(
        _rule(
            "a niceness: use a whole number from -20 (first) to 19 (last)",
            lambda v: type(v) is int and -20 <= v <= 19,
        )
    ),
    "rlimits": _MAPPING,
    "stdin": _optional(TEXT),
    "memory_max": _optional(_rule("a size above 0: use bytes, 64K, 512M or 1.5G", _is_size)),
    "heartbeat": _optional(_PERIOD),
    "start_timeout": _rule(
        "a time to start in: use seconds, 200ms, 5s, 1m or infinity",
        lambda v: v == "infinity" or (_is_seconds(v) and v > 0),
    ),
    "replicas": _optional(
        _rule(
            f"a number of replicas from 1 to {REPLICAS_MAX}",
            lambda v: type(v) is int and 1 <= v <= REPLICAS_MAX,
        )
    ),
}
SUPERVISOR: dict[str, Rule] = _COMMON | {
    "children": _LIST,
    "strategy": _choice(
        "strategy", "one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"
    ),
    "max_restarts": _RESTARTS,
    "max_seconds": _PERIOD,
    "auto_shutdown": _choice("way of auto_shutdown", "never", "any_significant", "all_significant"),
    "give_up": _rule("a way to give up: use exit, or wait 30s", lambda v: wait_of(v) is not None),
}
NODE: dict[str, Rule] = {
    "name": ID,
    "listen": _optional(HOST_PORT),
    "peers": _MAPPING,
    "authkey_file": _optional(TEXT),
    "topologies": _MAPPING,
    "preload": _LIST,
    "run_dir": _optional(TEXT),
    "insecure": _rule("true or false", lambda v: isinstance(v, bool)),
    "heartbeat": _PERIOD,
    "isolation": _choice("way of isolation", "none", "pidns"),
}
TLS: dict[str, Rule] = {"cert": TEXT, "key": TEXT, "ca": TEXT}
_WAYS: dict[str, Rule] = {
    "tcp": _optional(_target(targets.tcp)),
    "http": _optional(_target(targets.http)),
    "exec": _optional(_rule("a list, the program first, such as [redis-cli, ping]", is_list)),
    "call": lambda value: None,  # only with the import of what it names can be said more
    "timeout": _PERIOD,
    "interval": _PERIOD,
}
READY: dict[str, Rule] = _WAYS | {
    "notify": _rule("true or false", lambda v: isinstance(v, bool)),
    "log": _optional(_rule("a regular expression, such as 'listening on port'", _is_pattern)),
}
BACKOFF: dict[str, Rule] = {
    "initial": _PERIOD,
    "factor": _rule("a number from 1 on", lambda v: _is_seconds(v) and v >= 1),
    "max": _PERIOD,
    "jitter": _rule("a number from 0 to 1", lambda v: _is_seconds(v) and v <= 1),
    "stable_after": _PERIOD,
}
LIVENESS: dict[str, Rule] = _WAYS | {"failures": _COUNT}
METRICS: dict[str, Rule] = {
    "listen": _optional(HOST_PORT),
    "textfile": _optional(TEXT),
    "interval": _PERIOD,
}
LOGS: dict[str, Rule] = {
    "output": _choice("kind of output", "auto", "terminal", "json", "none", "inherit"),
    "dir": _optional(TEXT),
    "max_bytes": _rule(
        "a size from 64K on: use bytes, 512K, 10M", lambda v: _is_size(v) and v >= LOG_BYTES_MIN
    ),
    "files": _rule(
        f"a whole number from 0 to {LOG_FILES_MAX}",
        lambda v: type(v) is int and 0 <= v <= LOG_FILES_MAX,
    ),
}
