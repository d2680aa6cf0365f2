"""Processes, users and the environment of the host."""

import contextlib
import ctypes
import fcntl
import fnmatch
import logging
import os
import re
import signal
import time

import bb

_libc = None


def _c_library():
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def cpu_count():
    return len(os.sched_getaffinity(0))


def nonblockingfd(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)


def is_local_uid(uid=""):
    """Whether /etc/passwd itself names a user."""
    wanted = str(uid or os.getuid())
    with open("/etc/passwd") as users:
        return any(fields[2] == wanted for fields in (line.split(":") for line in users) if len(fields) > 2)


def signal_on_parent_exit(signame):
    """Has a signal sent to this process when its parent ends."""
    set_parent_death_signal = 1
    if _c_library().prctl(set_parent_death_signal, getattr(signal, signame)) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def set_process_name(name):
    set_name = 15
    with contextlib.suppress(Exception):
        _c_library().prctl(set_name, ctypes.create_string_buffer(name.encode()[:15]))


def disable_network(uid=None, gid=None):
    """Puts this process into a network namespace of its own."""
    new_user, new_net = 0x10000000, 0x40000000
    uid = os.getuid() if uid is None else uid
    gid = os.getgid() if gid is None else gid
    if _c_library().unshare(new_net | new_user) != 0:
        bb.debug(1, "network cannot be turned off: no new namespaces here")
        return
    for path, text in (
        ("/proc/self/uid_map", "%s %s 1" % (uid, uid)),
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/gid_map", "%s %s 1" % (gid, gid)),
    ):
        with open(path, "w") as control:
            control.write(text)


@contextlib.contextmanager
def environment(**envvars):
    """Sets variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in envvars}
    os.environ.update(envvars)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def preserved_envvars_exported():
    return ["BB_TASKHASH", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER", "LC_ALL", "BBSERVER"]


def preserved_envvars():
    return ["BBPATH", "BB_PRESERVE_ENV", "BB_ENV_PASSTHROUGH_ADDITIONS"] + preserved_envvars_exported()


def approved_variables():
    """Names of the variables that metadata may take from the environment."""
    if "BB_PRESERVE_ENV" in os.environ:
        return list(os.environ)
    names = os.environ.get("BB_ENV_PASSTHROUGH")
    names = names.split() + ["BB_ENV_PASSTHROUGH"] if names is not None else preserved_envvars()
    more = os.environ.get("BB_ENV_PASSTHROUGH_ADDITIONS")
    return names + more.split() + ["BB_ENV_PASSTHROUGH_ADDITIONS"] if more is not None else names


def filter_environment(good_vars):
    """Removes all other variables from the environment and returns them."""
    removed = {name: os.environ.pop(name) for name in list(os.environ) if name not in good_vars}
    # What programs print must not depend on the user's language.
    os.environ["LC_ALL"] = "C.UTF-8" if removed.get("LC_ALL") == "C.UTF-8" else "en_US.UTF-8"
    return removed


def clean_environment():
    return {} if "BB_PRESERVE_ENV" in os.environ else filter_environment(approved_variables())


def empty_environment():
    os.environ.clear()


def build_environment(d):
    """Puts exported variables into the environment."""
    for name in bb.data.keys(d):
        if d.getVarFlag(name, "export", False):
            os.environ[name] = d.getVar(name) or ""


def export_proxies(d):
    os.environ.update(bb.fetch2.get_fetcher_environment(d))


def get_collection_res(d):
    """Layer name to the pattern of its files."""
    return {name: d.getVar("BBFILE_PATTERN_%s" % name) or "" for name in (d.getVar("BBFILE_COLLECTIONS") or "").split()}


def get_file_layer(filename, d, collection_res={}):
    """The layer that a file belongs to: the one whose pattern is longest."""
    patterns = collection_res or get_collection_res(d)

    def layer_of(path):
        fitting = [(len(pattern), name) for name, pattern in patterns.items() if pattern and re.match(pattern, path)]
        longest = max((length for length, _ in fitting), default=0)
        return next((name for length, name in fitting if length == longest), None)

    for entry in (d.getVar("BBFILES_PRIORITIZED") or "").split():
        if fnmatch.fnmatchcase(filename, entry):
            return layer_of(entry)
    return layer_of(filename)


class LogCatcher(logging.Handler):
    """Keeps the warnings and errors that are logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(bb.build.logformatter.format(record))

    def contains(self, message):
        return message in self.messages


def clean_context():
    """What every piece of metadata's Python can name without importing it."""
    return {"os": os, "bb": bb, "time": time}


_context = clean_context()


def get_context():
    return _context


def set_context(ctx):
    global _context
    _context = ctx


def better_compile(text, file, realfile, mode="exec", lineno=0):
    """Compiles code so that its lines count from where it stands in its file."""
    try:
        return compile("\n" * int(lineno) + text, realfile, mode)
    except SyntaxError as error:
        bb.error("Error in compiling python function in %s, line %s: %s" % (realfile, error.lineno, error.msg))
        raise bb.BBHandledException(error) from error


def better_exec(code, context, text=None, realfile="<code>", pythonexception=False):
    """Runs code with the names of metadata's Python added to a context."""
    context.update((name, value) for name, value in _context.items() if name not in context)
    if not hasattr(code, "co_filename"):
        code = better_compile(code, realfile, realfile)
    try:
        exec(code, _context, context)
    except (bb.BBHandledException, bb.parse.SkipRecipe, bb.build.FuncFailed, bb.data_smart.ExpansionError):
        raise
    except Exception as error:
        if pythonexception:
            raise
        bb.error("Error executing a python function in %s: %s: %s" % (realfile, type(error).__name__, error))
        raise bb.BBHandledException(error) from error


def simple_exec(code, context):
    exec(code, _context, context)


def better_eval(source, locals, extraglobals=None):
    names = dict(_context, **extraglobals) if extraglobals else _context
    return eval(source, names, locals)
