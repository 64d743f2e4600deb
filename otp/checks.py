"""The check that a tree can be started as it is written: all that is wrong with it, at once.

`rules` knows single values; here is which combinations are wrong. Where a fault lies is told as
the keys and indexes that lead to it, so that the same faults serve trees from Python and YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from otp import envfile, starts, users
from otp.care_checks import Fault, Where, backoff_faults, care_faults
from otp.errors import Problem, SpecError
from otp.limits import RLIMITS
from otp.rules import (
    CHILD,
    HOST_PORT,
    ID,
    LOGS,
    METRICS,
    NODE,
    RLIMIT,
    SUPERVISOR,
    TEXT,
    TLS,
    Rule,
    is_list,
    is_loopback,
    is_mapping,
)
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

# Deeper trees are a mistake, or an attack on whoever walks them recursively.
LEVELS_MAX = 32


def check(tree: Supervisor, *, imports: bool = True) -> None:
    """Raise a SpecError with all problems of the tree, each by its path, if there are any.

    `imports=False` leaves out what needs the import of the modules that `start` names.
    """
    found = faults(tree, imports=imports)
    problems = [Problem(message, path=_readable(tree, where)) for where, message in found]
    if problems:
        raise SpecError(problems)


def faults(tree: Any, *, imports: bool = True) -> Iterator[Fault]:
    """(Where, message) of all that is wrong; where is keys and indexes from the root on."""
    if not isinstance(tree, Supervisor):
        yield (), f"the root is {shown(tree)}; it must be a Supervisor"
        return
    places = list(_walk(tree, (), ""))
    for place in places:
        if isinstance(place.spec, Supervisor):
            yield from _supervisor(place)
        elif isinstance(place.spec, ChildSpec):
            yield from _child(place, imports)
        else:
            yield place.where, f"{shown(place.spec)} is not a ChildSpec or a Supervisor"
    yield from _names(places)
    if isinstance(tree.node, NodeOptions):
        yield from _node(tree.node, imports)
    elif tree.node is not None:
        yield ("node",), f"{shown(tree.node)} is not a NodeOptions"


class _Place(NamedTuple):
    """A spec in its tree; `path` as processes are addressed ("pool/w1", "" for the root)."""

    where: Where
    path: str
    spec: Any
    parent: Supervisor | None


def _walk(spec: Any, where: Where, path: str, parent: Supervisor | None = None) -> Iterator[_Place]:
    yield _Place(where, path, spec, parent)
    if isinstance(spec, Supervisor) and is_list(spec.children) and len(where) < 2 * LEVELS_MAX:
        for index, child in enumerate(spec.children):
            name = child.id if isinstance(child, Spec) and ID(child.id) is None else "?"
            below = f"{path}/{name}" if path else name
            yield from _walk(child, (*where, "children", index), below, spec)


def _readable(tree: Supervisor, where: Where) -> str:
    """("children", 0, "args", "n") as "root/counter.args.n"."""
    path, spec, rest = str(getattr(tree, "id", "?")), tree, list(where)
    while len(rest) >= 2 and rest[0] == "children":
        spec = spec.children[int(rest[1])]  # type: ignore[assignment]
        path += f"/{getattr(spec, 'id', '?')}"
        rest = rest[2:]
    return ".".join([path, *map(str, rest)])


def _fields(spec: Any, where: Where, rules: Mapping[str, Rule]) -> Iterator[Fault]:
    for field, rule in rules.items():
        if message := rule(getattr(spec, field)):
            yield (*where, field), message


# ---------------------------------------------------------------- supervisors


def _supervisor(place: _Place) -> Iterator[Fault]:
    where, spec = place.where, place.spec
    yield from _fields(spec, where, SUPERVISOR)
    yield from backoff_faults(spec.backoff, (*where, "backoff"))
    yield from _in_family(place)
    if place.parent is not None and spec.node is not None:
        yield (*where, "node"), "only the root has `node`: its options belong to the whole node"
    if not is_list(spec.children):
        return
    if len(where) >= 2 * LEVELS_MAX and spec.children:
        yield (*where, "children"), f"supervisors are nested deeper than {LEVELS_MAX} levels"
    if spec.strategy == "simple_one_for_one" and len(spec.children) != 1:
        need = "simple_one_for_one needs exactly one child, the template of all it will start"
        yield (*where, "children"), f"{need}; this has {len(spec.children)}"
    first: dict[str, int] = {}
    for index, child in enumerate(spec.children):
        name = getattr(child, "id", None)
        if isinstance(name, str) and first.setdefault(name, index) != index:
            text = f"child {first[name] + 1} of {shown(spec.id)} has the id {shown(name)} already"
            yield (*where, "children", index, "id"), f"{text}: ids are unique in a supervisor"


def _in_family(place: _Place) -> Iterator[Fault]:
    """What a child cannot be under its supervisor."""
    where, spec, parent = place.where, place.spec, place.parent
    if spec.significant is True and parent is None:
        yield (*where, "significant"), "the root has no supervisor that could take note of it"
    elif spec.significant is True and parent is not None:
        if parent.auto_shutdown == "never":
            text = f"significant has no effect while auto_shutdown of {shown(parent.id)} is never"
            yield (*where, "significant"), f"{text}: use any_significant or all_significant there"
        if spec.restart == "permanent":
            text = "a significant child cannot be permanent, which never ends"
            yield (*where, "significant"), f"{text}: use restart transient or temporary"
    if spec.name is not None and parent and parent.strategy == "simple_one_for_one":
        text = "a template cannot have a name: all that are started from it would share it"
        yield (*where, "name"), text


def _names(places: list[_Place]) -> Iterator[Fault]:
    """Names that could mean two processes: messages to them would go astray."""
    path_of: dict[str, Where] = {place.path: place.where for place in places if place.path}
    owner: dict[str, str] = {}
    for where, path, spec, _ in places:
        name = getattr(spec, "name", None)
        if not isinstance(name, str):
            continue
        if path_of.get(name, where) != where:
            text = f"the name {shown(name)} is the path of another child"
            yield (*where, "name"), f"{text}: choose another"
        if owner.setdefault(name, path) != path:
            text = f"the name {shown(name)} belongs to {owner[name] or 'the root'!r} already"
            yield (*where, "name"), f"{text}: choose another"


# ---------------------------------------------------------------- workers and programs


def _child(place: _Place, imports: bool) -> Iterator[Fault]:
    where, spec, parent = place.where, place.spec, place.parent
    yield from _fields(spec, where, CHILD)
    yield from _in_family(place)
    if spec.start is None and spec.command is None:
        text = "neither `start` (a class) nor `command` (a program); a supervisor has `children`"
        yield where, f"{shown(spec.id)} has {text}"
    if spec.start is not None and spec.command is not None:
        yield (*where, "command"), "`start` and `command` exclude each other: leave one out"
    if spec.command is not None and spec.args and spec.start is None:
        yield (*where, "args"), "only a `start` has `args`: append them to `command`"
    if is_list(spec.command):
        yield from _items(spec.command, (*where, "command"))
        if not spec.command or not spec.command[0]:
            yield (*where, "command"), "names no program: write it first, then its arguments"
    if is_mapping(spec.env):
        yield from _env(spec.env, (*where, "env"))
    yield from _outfit(spec, where, here=imports)
    if spec.replicas is not None and parent and parent.strategy == "simple_one_for_one":
        yield (*where, "replicas"), "a template has none: start as many as you need from it"
    template = parent is not None and parent.strategy == "simple_one_for_one"
    yield from _start(spec, where, partial=template, imports=imports)
    yield from care_faults(spec, where, imports=imports)


def _items(items: Any, where: Where, rule: Rule = TEXT) -> Iterator[Fault]:
    keyed = items.items() if isinstance(items, Mapping) else enumerate(items)
    for key, value in keyed:
        if message := rule(value):
            yield (*where, key), message


def _env(env: Mapping[str, Any], where: Where) -> Iterator[Fault]:
    yield from _items(env, where)
    for key in env:
        if not key or "=" in key:
            yield (*where, key), f"{shown(key)} is not the name of an environment variable"


def _outfit(spec: ChildSpec, where: Where, *, here: bool) -> Iterator[Fault]:
    """Limits that there are; and, where the tree is to run here, the user and the file."""
    if is_mapping(spec.rlimits):
        yield from _items(spec.rlimits, (*where, "rlimits"), RLIMIT)
        for name in spec.rlimits.keys() - RLIMITS.keys():
            hint = did_you_mean(name, RLIMITS) or f"; use {', '.join(RLIMITS)}"
            yield (*where, "rlimits", name), f"{shown(name)} is not a limit{hint}"
    if here and spec.env_file is not None and not CHILD["env_file"](spec.env_file):
        try:
            envfile.read(spec.env_file)
        except envfile.EnvFileError as error:
            yield (*where, "env_file"), str(error)
    if here and spec.user is not None and not CHILD["user"](spec.user):
        try:
            users.find(spec.user)
        except LookupError as error:
            yield (*where, "user"), str(error)


def _start(
    spec: ChildSpec | TopologySpec, where: Where, *, partial: bool, imports: bool
) -> Iterator[Fault]:
    """Can `start` be found, and do `args` fit it?"""
    if not is_mapping(spec.args):
        return
    target = spec.start
    if isinstance(target, str):
        try:
            starts.parse(target)
            target = starts.find(target) if imports else None
        except LookupError as error:
            yield (*where, "start"), str(error)
            return
    if callable(target):
        args = dict(spec.args)
        if getattr(spec, "replicas", None) and starts.takes(target, "replica"):
            args.setdefault("replica", 0)
        for key, message in starts.misfits(target, args, partial=partial):
            yield (*where, "args") + (() if key is None else (key,)), message


# ---------------------------------------------------------------- the node


def _node(options: NodeOptions, imports: bool) -> Iterator[Fault]:
    yield from _fields(options, ("node",), NODE)
    yield from _secrecy(options)
    if is_mapping(options.peers):
        yield from _items(options.peers, ("node", "peers"), HOST_PORT)
        for peer in options.peers:
            if message := ID(peer):
                yield ("node", "peers", peer), message
    if is_list(options.preload):
        yield from _items(options.preload, ("node", "preload"), _module_rule(imports))
    if options.logs is not None:
        yield from _logs(options.logs)
    if is_mapping(options.topologies):
        for group, topology in options.topologies.items():
            yield from _topology(topology, ("node", "topologies", group), imports)
    if options.metrics is not None:
        yield from _metrics(options.metrics, ("node", "metrics"))


def _metrics(metrics: Any, where: Where) -> Iterator[Fault]:
    if not isinstance(metrics, MetricsSpec):
        yield where, f"{shown(metrics)} is not a MetricsSpec, or text of the form host:port"
        return
    yield from _fields(metrics, where, METRICS)
    if metrics.listen is None and metrics.textfile is None:
        yield where, "neither `listen` (host:port) nor `textfile` (a path): metrics go nowhere"


def _secrecy(options: NodeOptions) -> Iterator[Fault]:
    """Off loopback nodes need certificates, or the word that they do without."""
    tls = options.tls
    if isinstance(tls, TlsFiles):
        yield from _fields(tls, ("node", "tls"), TLS)
    elif tls is not None:
        yield ("node", "tls"), f"{shown(tls)} is not a TlsFiles"
    if tls is not None and options.insecure is True:
        yield ("node", "insecure"), "`tls` and `insecure` exclude each other: leave one out"
    if tls is not None or options.insecure is True:
        return
    remedy = "use `tls: {cert, key, ca}` (`otp certs` makes them), or write `insecure: true`"
    if (
        options.listen is not None
        and not HOST_PORT(options.listen)
        and not is_loopback(options.listen)
    ):
        text = f"{shown(options.listen)} can be reached from other machines, without encryption"
        yield ("node", "listen"), f"{text}: {remedy}"
    for peer, address in options.peers.items() if is_mapping(options.peers) else ():
        if not HOST_PORT(address) and not is_loopback(address):
            text = f"{shown(address)} is on another machine, and nothing would be encrypted"
            yield ("node", "peers", peer), f"{text}: {remedy}"


def _logs(logs: Any) -> Iterator[Fault]:
    where = ("node", "logs")
    if not isinstance(logs, LogOptions):
        yield where, f"{shown(logs)} is not a LogOptions"
        return
    yield from _fields(logs, where, LOGS)


def _module_rule(imports: bool) -> Callable[[Any], str | None]:
    return lambda v: TEXT(v) or (starts.missing_module(v) if imports else None)


def _topology(topology: Any, where: Where, imports: bool) -> Iterator[Fault]:
    if not isinstance(topology, TopologySpec):
        yield where, f"{shown(topology)} is not a TopologySpec"
        return
    if message := CHILD["start"](topology.start):
        yield (*where, "start"), message
    if topology.start is None:
        yield where, "`start` is missing: the class, as 'module:Class', that places the keys"
    if message := CHILD["args"](topology.args):
        yield (*where, "args"), message
    # The node adds what it knows, so no argument counts as missing.
    yield from _start(topology, where, partial=True, imports=imports)
