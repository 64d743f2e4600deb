"""A supervisord.conf as a tree. Pure."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otp.command.import_procfile import RESTARTS, Imported
from otp.command.yaml_text import Block, literal
from otp.rules import ID

PROCESSES_MAX = 1_000
"""Of one program: `numprocs` beyond that is a slip of the pen."""
PRIORITY, STOP_SECONDS = 999, 10
"""supervisord's own."""
RESTART = {"true": "permanent", "false": "temporary", "unexpected": "transient"}
TRUE = frozenset({"1", "true", "yes", "on", "t"})
_OUTPUT = ("logfile", "logfile_maxbytes", "logfile_backups", "capture_maxbytes")
_KEPT = {f"{stream}_{key}" for stream in ("stdout", "stderr") for key in _OUTPUT} | {
    "redirect_stderr"
}
"""Where output goes: otp keeps it by itself."""
_SILENT = {"killasgroup", "numprocs_start"}
"""What otp does by itself: it kills all that is left, and counts from where it is told."""
_TAKEN = {"command", "process_name", "numprocs", "directory", "umask", "user", "environment"} | {
    *("priority", "autostart", "autorestart", "exitcodes", "stopsignal", "stopwaitsecs"),
    *("startsecs", "startretries", "stopasgroup"),
}
_SERVERS = ("unix_http_server", "inet_http_server", "supervisorctl")
_SECTIONS = ("supervisord", "include")
_PAIR = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=")


class _Environ(dict[str, Any]):
    """`%(ENV_X)s` stays a variable of the environment, in the words of a tree."""

    def __missing__(self, key: str) -> str:
        if key.startswith("ENV_"):
            return f"\0{{{key.removeprefix('ENV_')}}}"
        raise KeyError(key)


def parse(texts: list[str]) -> configparser.RawConfigParser:
    """One configuration of all these texts. Raises ValueError that says what is wrong."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    for text in texts:
        try:
            parser.read_string(text, source="it")
        except configparser.Error as error:
            raise ValueError(" ".join(str(error).split())) from None
    return parser


def included(parser: configparser.RawConfigParser) -> list[str]:
    """The patterns of [include], as written."""
    return parser.get("include", "files", fallback="").split()


def from_supervisord(parser: configparser.RawConfigParser, here: str = ".") -> Imported:
    """Each program is a child; several processes of one, or a group, are a supervisor.

    Raises ValueError where nothing is to be run.
    """
    return _Import(parser, here).all()


class _Import:
    def __init__(self, parser: configparser.RawConfigParser, here: str) -> None:
        self._parser, self._here = parser, here
        self._root = Block({"id": "supervisord", **RESTARTS}, [NOTE], [])
        self._found = Imported(self._root)
        self._ids: set[str] = set()

    def all(self) -> Imported:
        programs: dict[str, tuple[int, Block]] = {}
        for section in self._parser.sections():
            kind, _, name = section.partition(":")
            if kind == "program":
                options = dict(self._parser.items(section))
                programs[name] = (self._priority(section, options), self._program(name, options))
            elif section in _SERVERS or kind == "rpcinterface":
                self._warn(section, "left out: `otp` finds its node by itself, see `otp ps`")
            elif kind != "group" and section not in _SECTIONS:
                self._warn(section, "has no like here: left out")
        if self._parser.get("supervisord", "user", fallback=""):
            self._warn("supervisord", "user: start `otp run` as that user, or give each `user:`")
        blocks = self._grouped(programs)
        if not blocks:
            raise ValueError("it holds no [program:..]")
        assert self._root.children is not None
        self._root.children += [block for _, block in sorted(blocks, key=lambda pair: pair[0])]
        return self._found

    def _grouped(self, programs: dict[str, tuple[int, Block]]) -> list[tuple[int, Block]]:
        blocks: list[tuple[int, Block]] = []
        left = dict(programs)
        for section in self._parser.sections():
            kind, _, name = section.partition(":")
            if kind != "group":
                continue
            options = dict(self._parser.items(section))
            names = [one.strip() for one in options.get("programs", "").split(",") if one.strip()]
            missing = [one for one in names if one not in left]
            if missing:
                self._warn(section, f"there is no program {', '.join(missing)}")
            inner = sorted(
                (left.pop(one) for one in names if one in left), key=lambda pair: pair[0]
            )
            group = Block({"id": self._id(name), **RESTARTS}, [], [block for _, block in inner])
            blocks.append((self._priority(section, options), group))
        return [*left.values(), *blocks]

    def _warn(self, section: str, text: str) -> None:
        warning = f"[{section}] {text}"
        if warning not in self._found.warnings:  # each process of a program would say the same
            self._found.warnings.append(warning)

    def _priority(self, section: str, options: Mapping[str, str]) -> int:
        return self._number(section, options, "priority", PRIORITY)

    def _number(self, section: str, options: Mapping[str, str], key: str, default: int) -> int:
        try:
            return int(options.get(key, default))
        except ValueError:
            self._warn(section, f"{key} is no whole number: taken as {default}")
            return default

    def _id(self, name: str) -> str:
        """The name, made an id if need be."""
        made = name if ID(name) is None else re.sub(r"[^\w.+=-]", "-", name)[:100] or "x"
        unique, number = made, 2
        while unique in self._ids:
            unique, number = f"{made}-{number}", number + 1
        self._ids.add(unique)
        return unique

    # ------------------------------------------------------------ one program

    def _program(self, name: str, options: dict[str, str]) -> Block:
        section = f"program:{name}"
        count = self._number(section, options, "numprocs", 1)
        if not 1 <= count <= PROCESSES_MAX:
            self._warn(section, f"numprocs is {count}: taken as 1, of at most {PROCESSES_MAX}")
            count = 1
        first = self._number(section, options, "numprocs_start", 0)
        self._say_what_is_lost(section, options)
        made = [self._one(name, options, number, count) for number in range(first, first + count)]
        if count == 1:
            return made[0]
        fields = {"id": self._id(name), **RESTARTS}
        if not made[0].dropped:
            return Block(fields, [], made)
        below = [msgspec.structs.replace(one, comments=[], dropped=False) for one in made]
        return Block(fields, made[0].comments, below, dropped=True)

    def _one(self, name: str, options: dict[str, str], number: int, count: int) -> Block:
        section = f"program:{name}"

        def value(key: str, default: str = "") -> str:
            text = options.get(key, default)
            try:
                filled = text % _Environ(
                    program_name=name, group_name=name, process_num=number, numprocs=count,
                    here=self._here, host_node_name="localhost",
                )  # fmt: skip
            except (KeyError, ValueError, TypeError):
                self._warn(section, f"{key} holds an expansion that is not known: left as it is")
                filled = text
            return literal(filled).replace("\0{", "${")

        default = "%(program_name)s" if count == 1 else "%(program_name)s_%(process_num)02d"
        fields: dict[str, Any] = {"id": self._id(value("process_name", default))}
        try:
            fields["command"] = shlex.split(value("command"))
        except ValueError as error:
            self._warn(section, f"command cannot be taken apart: {error}")
            fields["command"] = ["sh", "-c", value("command")]
        block = Block(fields)
        self._rest(section, options, value, block)
        return block

    def _rest(
        self, section: str, options: dict[str, str], value: Callable[..., str], block: Block
    ) -> None:
        fields = block.fields
        for key, field in (("directory", "cwd"), ("user", "user"), ("umask", "umask")):
            if text := value(key):
                fields[field] = text
        common = self._parser.get("supervisord", "environment", fallback="")
        texts = [("supervisord", literal(common)), (section, value("environment"))]
        env = {k: v for where, text in texts for k, v in self._environment(where, text).items()}
        if env:
            fields["env"] = env
        wanted = options.get("autorestart", "unexpected").lower()
        kind = "true" if wanted in TRUE else "unexpected" if wanted == "unexpected" else "false"
        fields["restart"] = RESTART[kind]
        if kind == "false":
            block.comments += FORGOTTEN
        number = options.get("stopsignal", "TERM").upper().removeprefix("SIG")
        if number != "TERM":
            fields["stop_signal"] = f"SIG{number}"
        fields["shutdown"] = f"{self._number(section, options, 'stopwaitsecs', STOP_SECONDS)}s"
        if not fields["command"]:
            block.dropped = True
            block.comments = ["there is no command:"]
            self._warn(section, "has no command: left out")
        elif options.get("autostart", "true").lower() not in TRUE:
            block.dropped = True
            block.comments = ["autostart is false, and what is declared is started:"]
            self._warn(section, "autostart is false: left as a comment")

    def _environment(self, section: str, text: str) -> dict[str, str]:
        """KEY="value",KEY=value .. of supervisord."""
        found: dict[str, str] = {}
        lexer = shlex.shlex(text.replace("\n", ","), posix=True)
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
        try:
            for pair in lexer:
                key, equals, one = pair.partition("=")
                if equals and _PAIR.match(f"{key}="):
                    found[key.strip()] = one.strip()
                elif pair.strip():
                    self._warn(
                        section, f"environment holds {pair.strip()!r}, which is no KEY=value"
                    )
        except ValueError as error:
            self._warn(section, f"environment cannot be taken apart: {error}")
        return found

    def _say_what_is_lost(self, section: str, options: dict[str, str]) -> None:
        for key in options:
            if key in _KEPT:
                self._warn(section, f"{key}: left out, `otp logs` shows and bounds all output")
            elif key not in _TAKEN and key not in _SILENT:
                self._warn(section, f"{key} has no like here: left out")
        if options.get("exitcodes", "0").strip() != "0":
            self._warn(section, "exitcodes: only 0 counts as an end that was wished for")
        for key, default in (("startsecs", "1"), ("startretries", "3")):
            if options.get(key, default).strip() != default:
                self._warn(section, f"{key}: see `ready:` and `max_restarts:` in its place")
        if options.get("stopasgroup", "false").lower() in TRUE:
            self._warn(
                section, "stopasgroup: the signal goes to the program; at last all is killed"
            )


FORGOTTEN = (
    "autorestart is false: never restarted, but forgotten when it ends (not in `otp ps`, no",
    "`otp start`). With `restart: transient` it stays, as stopped; restarted only if it failed.",
)
"""OTP has no child that is never restarted and yet kept."""
NOTE = "From a supervisord.conf. Its output is kept by otp: see `otp logs`."
