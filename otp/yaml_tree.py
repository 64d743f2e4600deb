"""Supervision trees from YAML, field for field the structs of `spec`.

A file holds one tree, or several as documents of which one is chosen by its id. A child of a
supervisor may be `include: FILE` (relative to the file it is in; `tree: ID` chooses among several
documents): the child, or the list of children, that the other file holds. The root may have
`node:`, the options of the node.

Where text is expected (ids, env, command, ...) an unquoted scalar stays what the user wrote, so
`env: {PORT: 8080, DEBUG: on, MODE: 0755}` needs no quotes; `args` take values as `yaml_nodes.core`
reads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from otp.care_checks import Where
from otp.checks import faults
from otp.errors import Problem, SpecError
from otp.regular import regular_bytes
from otp.spec import (
    ChildSpec,
    LogOptions,
    MetricsSpec,
    NodeOptions,
    Spec,
    Supervisor,
    TlsFiles,
    TopologySpec,
)
from otp.words import did_you_mean, shown
from otp.yaml_nodes import (
    FILE_BYTES_MAX,
    Entry,
    Items,
    Mark,
    Node,
    Reader,
    Scalar,
    Table,
    choose,
    core,
    is_null,
    parse,
)

# How many files may include each other, one within the other, and how many in all.
INCLUDE_DEPTH_MAX = 8
INCLUDES_MAX = 100

Report = Callable[[Mark, str], None]
_Chain = tuple[tuple[str, str | None], ...]


def load(
    path: str | os.PathLike[str],
    *,
    tree: str | None = None,
    environ: Mapping[str, str] | None = None,
    imports: bool = True,
) -> Supervisor:
    """The tree that a YAML file describes, checked; a SpecError tells all that is wrong with it.

    `tree` is the id of the root to take where the file holds several. `environ` (by default that
    of the process) fills in `${NAME}`. The modules that `start:` names are imported to check them,
    unless `imports` is False.
    """
    file = os.fspath(path)
    return _Loading(environ, imports).tree(_text(file), file, tree)


def loads(
    text: str,
    *,
    file: str = "<string>",
    tree: str | None = None,
    environ: Mapping[str, str] | None = None,
    imports: bool = True,
) -> Supervisor:
    """As `load`, from text; `file` is for error messages, and what `include` is relative to."""
    return _Loading(environ, imports).tree(text, file, tree)


def _text(file: str) -> str:
    """The text of a file, within bounds."""
    try:
        return regular_bytes(file, FILE_BYTES_MAX + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise SpecError([Problem("is not UTF-8 text", file, line, column)]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError([Problem(f"cannot be read: {reason}", file)]) from None


class _Loading:
    """One call of `load`: reads, follows includes, builds the structs, then checks them."""

    def __init__(self, environ: Mapping[str, str] | None, imports: bool) -> None:
        self._reader = Reader(os.environ if environ is None else environ)
        self._imports = imports
        self._includes = 0

    def tree(self, text: str, file: str, tree: str | None) -> Supervisor:
        report = self._reader.problem
        root = self._reader.read(choose(parse(text, file), file, tree), file)
        if not isinstance(root, Table) or {"start", "command"} & root.entries.keys():
            report(root.mark, "the root must be a supervisor: a mapping with `id:`, `children:`")
            self._reader.raise_problems()
            raise AssertionError("unreachable: there is a problem")
        root = self._expanded(root, ((os.path.realpath(file), tree),))
        built = _supervisor(root, report)
        for where, message in faults(built, imports=self._imports):
            report(_mark_of(root, where), message)
        self._reader.raise_problems()
        return built

    # ------------------------------------------------------------ includes

    def _expanded(self, node: Table, chain: _Chain) -> Table:
        """The node with what its children include in their place."""
        entry = node.entries.get("children")
        if entry is None or not isinstance(entry.value, Items):
            return node
        items = [new for item in entry.value.items for new in self._child(item, chain)]
        children = Entry(entry.key, Items(entry.value.mark, items))
        return Table(node.mark, node.entries | {"children": children})

    def _child(self, item: Node, chain: _Chain) -> list[Node]:
        if not isinstance(item, Table):
            return [item]
        if "include" not in item.entries:
            return [self._expanded(item, chain)]
        target = item.entries["include"].value
        others = [entry for key, entry in item.entries.items() if key not in ("include", "tree")]
        for entry in others:
            self._reader.problem(entry.key, "`include` goes alone, or with `tree`")
        if not isinstance(target, Scalar) or is_null(target):
            self._reader.problem(target.mark, "`include` takes the name of a file")
            return []
        if others:
            return []
        tree = item.entries.get("tree")
        return self._included(target, _field(tree.value) if tree else None, chain)

    def _included(self, target: Scalar, tree: Any, chain: _Chain) -> list[Node]:
        file = os.path.join(os.path.dirname(target.mark.file), target.text)
        link = (os.path.realpath(file), tree) if "\0" not in file else ("", tree)
        self._includes += 1
        if link in chain:
            self._reader.problem(target.mark, f"{shown(target.text)} includes itself")
        elif len(chain) > INCLUDE_DEPTH_MAX or self._includes > INCLUDES_MAX:
            bound = f"{INCLUDE_DEPTH_MAX} levels or {INCLUDES_MAX} files"
            self._reader.problem(target.mark, f"includes are bounded by {bound}")
        else:
            return self._read_include(target.mark, file, tree, (*chain, link))
        return []

    def _read_include(self, mark: Mark, file: str, tree: Any, chain: _Chain) -> list[Node]:
        try:
            node = self._reader.read(choose(parse(_text(file), file), file, tree), file)
        except SpecError as error:
            for p in error.problems:
                at = mark if p.line is None or p.column is None else Mark(file, p.line, p.column)
                self._reader.problem(at, p.message if p.line else f"{file} {p.message}")
            return []
        items = node.items if isinstance(node, Items) else [node]
        return [new for item in items for new in self._child(item, chain)]


# ---------------------------------------------------------------- from nodes to structs


def _field(node: Node) -> Any:
    """Text as written; None for nothing."""
    return core(node) if not isinstance(node, Scalar) or is_null(node) else node.text


def _item(node: Node) -> Any:
    """Text as written, `null` and `~` too: they may well be arguments of a program."""
    if not isinstance(node, Scalar):
        return core(node)
    return node.text if node.text or not node.plain else None


def _texts(node: Node) -> Any:
    return tuple(map(_item, node.items)) if isinstance(node, Items) else core(node)


def _text_table(node: Node) -> Any:
    if isinstance(node, Table):
        return {key: _item(entry.value) for key, entry in node.entries.items()}
    return {} if is_null(node) else core(node)


def _file(node: Node) -> Any:
    """A path, which is relative to the file that it is written in."""
    path = _field(node)
    return os.path.join(os.path.dirname(node.mark.file), path) if isinstance(path, str) else path


def _values(node: Node) -> Any:
    return {} if is_null(node) else core(node)


def _care(node: Node) -> Any:
    """`ready`, `liveness`: a mapping (its keys are checked with the tree) or a single word."""
    if not isinstance(node, Table):
        return _field(node)
    return {key: _CARE.get(key, core)(entry.value) for key, entry in node.entries.items()}


Readers = Mapping[str, Callable[[Node], Any]]
_CARE: Readers = {"tcp": _field, "http": _field, "exec": _texts, "call": _field}
_COMMON: Readers = {
    "id": _field, "restart": _field, "shutdown": core, "significant": core, "name": _field,
    "backoff": _care, "essential": core,
}  # fmt: skip
_CHILD: Readers = {
    **_COMMON, "start": _field, "args": _values, "command": _texts, "env": _text_table,
    "cwd": _field, "stop_signal": _field,
    "env_file": _file, "user": _field, "umask": _field, "nice": core, "rlimits": _values,
    "stdin": _file, "memory_max": core,
    "ready": _care, "liveness": _care, "heartbeat": core, "start_timeout": core,
    "replicas": core,
}  # fmt: skip
_SUPERVISOR: Readers = {
    **_COMMON, "strategy": _field, "max_restarts": core, "max_seconds": core,
    "auto_shutdown": _field, "give_up": _field,
}  # fmt: skip
_NODE: Readers = {
    "name": _field, "listen": _field, "peers": _text_table, "authkey_file": _field,
    "preload": _texts, "run_dir": _field, "insecure": core, "heartbeat": core,
    "isolation": _field,
}  # fmt: skip
_TLS: Readers = {"cert": _field, "key": _field, "ca": _field}
_METRICS: Readers = {"listen": _field, "textfile": _field, "interval": core}
_LOGS: Readers = {"output": _field, "dir": _file, "max_bytes": core, "files": core}
_TOPOLOGY: Readers = {"start": _field, "args": _values}
_OF_SUPERVISORS = {*_SUPERVISOR, "children", "node"} - set(_COMMON)


def _supervisor(node: Table, report: Report) -> Supervisor:
    fields = _fields(node, _SUPERVISOR, report, "a supervisor", also=("children", "node"))
    if children := node.entries.get("children"):
        if isinstance(children.value, Items):
            fields["children"] = tuple(_spec(item, report) for item in children.value.items)
        elif not is_null(children.value):
            fields["children"] = core(children.value)
    if options := node.entries.get("node"):
        fields["node"] = _node(options.value, report)
    return Supervisor(**_with_id(fields, node, report))


def _spec(node: Node, report: Report) -> Spec:
    if not isinstance(node, Table):
        report(node.mark, "a child is a mapping, such as {id: counter, start: 'module:Class'}")
        return ChildSpec("?")
    keys = node.entries.keys()
    if not {"start", "command"} & keys and _OF_SUPERVISORS & keys:
        return _supervisor(node, report)
    fields = _fields(node, _CHILD, report, "a worker or program")
    return ChildSpec(**_with_id(fields, node, report))


def _with_id(fields: dict[str, Any], node: Table, report: Report) -> dict[str, Any]:
    if "id" not in fields:
        report(node.mark, "`id:` is missing")
    return {"id": "?"} | fields


def _node(node: Node, report: Report) -> NodeOptions | None:
    if not isinstance(node, Table):
        report(node.mark, "`node` is a mapping, such as {name: a, listen: '127.0.0.1:7000'}")
        return None
    more = ("topologies", "tls", "metrics", "logs")
    fields = _fields(node, _NODE, report, "`node`", also=more)
    if metrics := node.entries.get("metrics"):
        fields["metrics"] = _metrics(metrics.value, report)
    if logs := node.entries.get("logs"):
        fields["logs"] = _logs(logs.value, report)
    if topologies := node.entries.get("topologies"):
        fields["topologies"] = _topologies(topologies.value, report)
    if tls := node.entries.get("tls"):
        fields["tls"] = _tls(tls.value, report)
    return NodeOptions(**fields)


def _tls(node: Node, report: Report) -> Any:
    if not isinstance(node, Table):
        return None if is_null(node) else core(node)
    fields = _fields(node, _TLS, report, "`tls`")
    if missing := [f"`{key}:`" for key in _TLS if key not in fields]:
        report(node.mark, f"`tls` lacks {' and '.join(missing)}; `otp certs` makes all three files")
    return TlsFiles(**({"cert": "?", "key": "?", "ca": "?"} | fields))


def _metrics(node: Node, report: Report) -> Any:
    if not isinstance(node, Table):
        return _field(node)
    return MetricsSpec(**_fields(node, _METRICS, report, "`metrics`"))


def _logs(node: Node, report: Report) -> LogOptions | None:
    if not isinstance(node, Table):
        report(node.mark, "`logs` is a mapping, such as {dir: /var/log/shop, max_bytes: 10M}")
        return None
    return LogOptions(**_fields(node, _LOGS, report, "`logs`"))


def _topologies(node: Node, report: Report) -> Any:
    if not isinstance(node, Table):
        return _values(node)
    return {group: _topology(entry.value, report) for group, entry in node.entries.items()}


def _topology(node: Node, report: Report) -> TopologySpec:
    if not isinstance(node, Table):
        report(node.mark, "a topology is a mapping, such as {start: 'module:Class', args: {}}")
        return TopologySpec("?:?")
    fields = _fields(node, _TOPOLOGY, report, "a topology")
    return TopologySpec(**({"start": None} | fields))


def _fields(
    node: Table, readers: Readers, report: Report, what: str, *, also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values of the known keys; unknown ones are reported."""
    known = [*readers, *also]
    for key, entry in node.entries.items():
        if key in known:
            continue
        if key in _OF_SUPERVISORS and readers is _CHILD:
            hint = "it belongs to a supervisor, which has neither `start` nor `command`"
        else:
            hint = did_you_mean(key, known).removeprefix("; ") or f"use {', '.join(known)}"
        report(entry.key, f"{shown(key)} is not a key of {what}; {hint}")
    return {key: readers[key](entry.value) for key, entry in node.entries.items() if key in readers}


def _mark_of(node: Node, where: Where) -> Mark:
    """The place that is meant, or the nearest around it that is written."""
    mark = node.mark
    for step in where:
        if isinstance(node, Table) and step in node.entries:
            key, node = node.entries[str(step)]
            mark = node.mark if isinstance(node, Scalar) else key
        elif isinstance(node, Items) and isinstance(step, int):
            node = node.items[step]
            mark = node.mark
    return mark
