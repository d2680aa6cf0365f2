"""What parsing raises, remembers and decorates."""

import errno
import logging
import os

import bb
import buildnet_seen
from buildnet_bridge import call

logger = logging.getLogger("BitBake.Parsing")
handlers = []


class ParseError(Exception):
    """A file that means nothing."""

    def __init__(self, msg, filename, lineno=0):
        self.msg = msg
        self.filename = filename
        self.lineno = lineno
        super().__init__(msg, filename, lineno)

    def __str__(self):
        place = "at %s:%d" % (self.filename, self.lineno) if self.lineno else "in %s" % self.filename
        return "ParseError %s: %s" % (place, self.msg)


class SkipRecipe(Exception):
    """The recipe is not for this configuration; the text says why."""


class SkipPackage(SkipRecipe):
    """The older name."""


_seen = {}


def _state(path):
    found = os.stat(path)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def cached_mtime(f):
    # Asked for anew each time, as far as what the recipe depends on is concerned.
    buildnet_seen.note("s", os.path.abspath(f))
    if f not in _seen:
        _seen[f] = _state(f)
    return _seen[f]


def cached_mtime_noerror(f):
    try:
        return cached_mtime(f)
    except OSError:
        return 0


def update_mtime(f):
    _seen.pop(f, None)
    return cached_mtime_noerror(f)


def update_cache(f):
    if f in _seen:
        update_mtime(f)


def check_mtime(f, mtime):
    return update_mtime(f) == mtime


def clear_cache():
    _seen.clear()


def mark_dependency(d, f):
    """Notes that the recipe depends on a file."""
    if f.startswith("./"):
        f = os.path.join(os.getcwd(), f[2:])
    known = list(d.getVar("__depends", False) or [])
    entry = (f, cached_mtime_noerror(f))
    if entry not in known:
        d.setVar("__depends", known + [entry])


def check_dependency(d, f):
    return (f, cached_mtime_noerror(f)) in (d.getVar("__depends", False) or [])


def resolve_file(fn, d):
    """The path of a file that is looked for along BBPATH."""
    if os.path.isabs(fn):
        mark_dependency(d, fn)
        found = fn
    else:
        found, looked = bb.utils.which(d.getVar("BBPATH"), fn, history=True)
        for path in looked:
            mark_dependency(d, path)
    if not found or not os.path.isfile(found):
        raise OSError(errno.ENOENT, "file %s not found in %s" % (fn, d.getVar("BBPATH")))
    return found


_names = {}


def vars_from_file(mypkg, d):
    """[PN, PV, PR] of a recipe's file name, None for what it does not say."""
    if not mypkg or not mypkg.endswith((".bb", ".bbappend")):
        return (None, None, None)
    if mypkg not in _names:
        parts = os.path.splitext(os.path.basename(mypkg))[0].split("_")
        if len(parts) > 3:
            raise ParseError("Unable to generate default variables from filename (too many underscores)", mypkg)
        _names[mypkg] = parts + [None] * (3 - len(parts))
    return _names[mypkg]


def get_file_depends(d):
    """The files that the recipe was read from, as one text."""
    entries = list(d.getVar("__base_depends", False) or []) + list(d.getVar("__depends", False) or [])
    return " ".join(os.path.abspath(path) for path, _ in entries)


def _noting(attribute):
    def decorator(*varnames):
        def note(function):
            setattr(function, attribute, getattr(function, attribute, set()) | set(varnames))
            return function

        return note

    return decorator


# Decorators that add variables to, or take them from, what a function's signature depends on.
vardeps = _noting("bb_vardeps")
vardepsexclude = _noting("bb_vardepsexclude")


class _Signatures:
    """Signatures are made on the other side; what metadata asks of their generator here has no answer yet."""

    def exit(self):
        pass


siggen = _Signatures()



def handle(fn, data, include=0, baseconfig=False):
    """Reads a file into a datastore; a recipe that is not included is finalised: its variants come back by name."""
    path = resolve_file(fn, data)
    if include or not path.endswith((".bb", ".inc")):
        call("read", data._handle, path)
        return data
    own = data._handle
    variants = call("recipe", own, path)
    return {name: data if handle == own else data._adopt(handle) for name, handle in variants.items()}


from bb.parse.parse_py import BBHandler, ConfHandler  # noqa: E402,F401
