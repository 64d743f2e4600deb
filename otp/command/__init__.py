"""The parts of the `otp` command; `otp.cli` is its table of commands and its entry point.

A module is named for the commands that it holds (`life`: stop, start, restart), or for what serves
several of them (`places`: which process a person means by a path). Programs use `otp`, not this.
"""
