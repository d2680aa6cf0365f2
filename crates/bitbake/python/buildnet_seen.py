"""What metadata's Python asks of the world outside its datastore: files, directories, the environment, the clock, programs.

BuildNet keeps what a recipe came to for as long as these answers stay the same, so every question is noted as (kind, what, answer).
Kinds: `t` the type of a file, links followed (`-` for none); `k` the same of a link itself; `s` and `l` all stat data, with and without
following; `c` the content of a file; `d` the names in a directory; `p` a path without links; `v` a variable of the environment (`*` for
all); `g` what a program says, which is known to do nothing else; `x` something that is never the same twice.
"""

import contextlib
import genericpath
import hashlib
import json
import os
import posixpath
import random
import stat
import sys
import time

_seen = {}
_own = ()
_expected = False
_watching = False

# Git's commands that only tell: they may be asked again to see whether they still say the same.
_TELLING = {"describe", "diff", "log", "ls-files", "merge-base", "remote", "rev-list", "rev-parse", "show", "status", "symbolic-ref"}

_stat = os.stat
_lstat = os.lstat
_readlink = os.readlink
_realpath = posixpath.realpath
_access = os.access
_getcwd = os.getcwd


def note(kind, what, answer=""):
    _seen[(kind, what, answer)] = None


def begin():
    """Starts a list of its own; returns the one that was being made, for `resume`."""
    global _seen
    before, _seen = _seen, {}
    return before


def take():
    """What was noted since the last look."""
    global _seen
    seen, _seen = _seen, {}
    return list(seen)


def resume(before):
    global _seen
    _seen = before


def _path(path):
    """An absolute path as text; None for what is no path, such as an empty text, which is nowhere on any machine."""
    try:
        path = os.fspath(path)
    except TypeError:
        return None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not path or "\0" in path:
        return None
    return path if path.startswith("/") else posixpath.join(_getcwd(), path)


def _type(found):
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    return "l" if stat.S_ISLNK(mode) else "o"


def _look(look, kind, path):
    """The type of a file, which is noted; `-` where there is none."""
    try:
        answer = _type(look(path))
    except (OSError, ValueError):
        answer = "-"
    name = None if isinstance(path, int) else _path(path)
    if name is not None and not name.startswith(_own):
        note(kind, name, answer)
    return answer


def exists(path):
    return _look(_stat, "t", path) != "-"


def isfile(path):
    return _look(_stat, "t", path) == "f"


def isdir(path):
    return _look(_stat, "t", path) == "d"


def lexists(path):
    return _look(_lstat, "k", path) != "-"


def islink(path):
    return _look(_lstat, "k", path) == "l"


def _noting(function, kind):
    def noting(path, *args, **kwargs):
        name = None if isinstance(path, int) or kwargs.get("dir_fd") is not None else _path(path)
        if name is not None and not name.startswith(_own):
            follow = kwargs.get("follow_symlinks", True)
            note(kind if follow else "l", name)
        return function(path, *args, **kwargs)

    noting.__name__ = function.__name__
    return noting


def realpath(filename, **kwargs):
    # It looks at every directory on the way; only where it ends counts.
    before = begin()
    try:
        found = _realpath(filename, **kwargs)
    finally:
        resume(before)
    name = _path(filename)
    if name is not None and isinstance(found, str) and not name.startswith(_own):
        note("p", name, found)
    return found


def _clock(module, name, pure):
    """Notes that the present was asked for, unless a time is given."""
    function = getattr(module, name)

    def asked(*args, **kwargs):
        if len(args) < pure and not sys._getframe(1).f_code.co_filename.startswith(_own):
            note("x", "time." + name)
        return function(*args, **kwargs)

    asked.__name__ = name
    setattr(module, name, asked)


def _random(module, name):
    function = getattr(module, name)

    def asked(*args, **kwargs):
        if not sys._getframe(1).f_code.co_filename.startswith(_own):
            note("x", name)
        return function(*args, **kwargs)

    asked.__name__ = name
    setattr(module, name, asked)


def is_repeatable(command):
    """Whether a command only tells something, the same each time as long as what it tells of is the same."""
    if not isinstance(command, (list, tuple)) or not all(isinstance(word, str) for word in command):
        return False
    return len(command) > 1 and command[0] == "git" and command[1] in _TELLING


@contextlib.contextmanager
def program(repeatable):
    """Does not note the programs that are started meanwhile, if what they say will be."""
    global _expected
    _expected = repeatable
    try:
        yield
    finally:
        _expected = False


def said(command, directory, code, output):
    """Notes what a repeatable command said."""
    place = _getcwd() if directory is None else _path(directory)
    answer = hashlib.sha256(b"%d %s" % (code, output or b"")).hexdigest()
    note("g", json.dumps([place, *command]), answer)


def _watch_environment():
    kind = type(os.environ)
    get, names = kind.__getitem__, kind.__iter__

    def getitem(self, key):
        note("v", os.fsdecode(key) if isinstance(key, bytes) else str(key))
        return get(self, key)

    def iterate(self):
        note("v", "*")
        return names(self)

    kind.__getitem__ = getitem
    kind.__iter__ = iterate


def _hook(event, args):
    """Events that Python itself tells of (PEP 578)."""
    if event == "open":
        _opened(*args)
    elif event in ("os.listdir", "os.scandir"):
        name = _getcwd() if args[0] is None else None if isinstance(args[0], int) else _path(args[0])
        if name is not None and not name.startswith(_own):
            note("d", name)
    elif event in _PROGRAMS and not _expected:
        note("x", "a program: %s" % (args[0],))


_PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "socket.connect"}


def _telling(function, event, told):
    """The function, telling first what Python itself tells where it has audit events."""

    def telling(*args, **kwargs):
        if _watching:
            _hook(event, told(*args, **kwargs))
        return function(*args, **kwargs)

    telling.__name__ = getattr(function, "__name__", event)
    return telling


class _Plain:
    """A function that stays one where a class holds it, as those do that are built in."""

    def __init__(self, function):
        self._function = function
        self.__name__ = function.__name__

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)


def _told_open(file, mode="r", *args, **kwargs):
    return (file, mode, 0)


def _told_os_open(path, flags, mode=0o777, *, dir_fd=None):
    # What is relative to an open directory is not known by its name.
    return (path, "w", flags) if dir_fd is not None else (path, None, flags)


def _told_path(path=None):
    return (path,)


def _told_program(*args, **kwargs):
    return (args[0] if args else kwargs,)


def tell():
    """Has a Python without audit events tell of the same. Modules keep what they find: this comes before they are imported."""
    import builtins
    import importlib._bootstrap_external as importing
    import io
    import posix

    if hasattr(sys, "addaudithook"):
        return
    builtins.open = io.open = _Plain(_telling(builtins.open, "open", _told_open))
    names = [("open", "open", _told_os_open), ("listdir", "os.listdir", _told_path), ("scandir", "os.scandir", _told_path)]
    for name in ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve"):
        event = "os.exec" if name.startswith("exec") else "os.posix_spawn" if name.startswith("posix") else "os." + name
        names.append((name, event, _told_program))
    for name, event, told in names:
        if hasattr(os, name):
            telling = _Plain(_telling(getattr(os, name), event, told))
            setattr(os, name, telling)
            setattr(posix, name, telling)

    class FileIO(io.FileIO):
        def __init__(self, file, mode="r", *args, **kwargs):
            if _watching:
                _hook("open", (file, mode, 0))
            super().__init__(file, mode, *args, **kwargs)

    io.FileIO = FileIO
    loader, finder = importing.FileLoader, importing.FileFinder
    loader.get_data = _telling(loader.get_data, "open", lambda self, path: (path, "r", 0))
    finder._fill_cache = _telling(finder._fill_cache, "os.listdir", lambda self: (self.path or None,))


def _tell_late():
    """The same for modules that cannot be imported before the rest."""
    import socket
    import subprocess

    subprocess.Popen.__init__ = _telling(
        subprocess.Popen.__init__, "subprocess.Popen", lambda self, *args, **kwargs: _told_program(*args, **kwargs)
    )

    class Socket(socket.socket):
        def connect(self, address):
            if _watching:
                _hook("socket.connect", (address,))
            return super().connect(address)

        def connect_ex(self, address):
            if _watching:
                _hook("socket.connect", (address,))
            return super().connect_ex(address)

    socket.socket = Socket


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _opened(path, mode, flags):
    if isinstance(path, int) or path is None:
        return
    name = _path(path)
    if name is None or name.startswith(_own):
        return
    writes = bool(flags & _WRITING) if isinstance(flags, int) and mode is None else any(c in (mode or "") for c in "wax+")
    if writes:
        note("x", "writing " + name)
        return
    if name.endswith(".pyc"):
        directory, base = posixpath.split(name)
        if posixpath.basename(directory) == "__pycache__":
            name = posixpath.join(posixpath.dirname(directory), base.split(".")[0] + ".py")
    note("c", name)


def modules():
    """The files of the modules that are loaded, those of Python and of this runtime aside."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({file for file in files if file and not file.startswith(_own)})


def watch(own):
    """Begins to note. What lies below one of the directories `own` belongs to the runtime and does not change."""
    global _own, _watching
    library = posixpath.dirname(os.__file__)
    _own = tuple(posixpath.join(place, "") for place in [library, _realpath(library)] + [p for p in own if p]) + ("/dev/",)
    for module in (posixpath, genericpath):
        module.exists, module.isfile, module.isdir = exists, isfile, isdir
    posixpath.lexists, posixpath.islink, posixpath.realpath = lexists, islink, realpath
    os.stat = _noting(_stat, "s")
    os.lstat = _noting(_lstat, "l")
    os.readlink = _noting(_readlink, "l")
    os.access = _noting(_access, "s")
    for name, pure in (("time", 1), ("time_ns", 1), ("gmtime", 1), ("localtime", 1), ("ctime", 1), ("asctime", 1), ("strftime", 2)):
        _clock(time, name, pure)
    _random(os, "urandom")
    for name in ("random", "randint", "choice", "choices", "randrange", "shuffle", "sample", "getrandbits"):
        _random(random, name)
    _watch_environment()
    if hasattr(sys, "addaudithook"):
        sys.addaudithook(_hook)
    else:
        _tell_late()
    _watching = True
