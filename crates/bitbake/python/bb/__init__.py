"""The `bb` package that metadata imports, on BuildNet's datastore.

`__version__` is the release of BitBake whose behaviour this package follows; layers compare it with what they need.
"""

import builtins
import logging
import os
import multiprocessing as _multiprocessing
import sys

__version__ = "2.19.0"


class BBHandledException(Exception):
    """Raised where the user has been told already."""


class _Fork:
    """The multiprocessing module with processes that are forks, whatever the default is."""

    def __init__(self):
        object.__setattr__(self, "_forking", _multiprocessing.get_context("fork"))

    def __getattr__(self, name):
        forking = object.__getattribute__(self, "_forking")
        return getattr(forking, name) if hasattr(forking, name) else getattr(_multiprocessing, name)

    def __setattr__(self, name, value):
        raise AttributeError("attributes of bb.multiprocessing cannot be set")


multiprocessing = _Fork()


class BBLogger(logging.Logger):
    """A logger with the levels that lie between Python's."""

    def bbdebug(self, level, msg, *args, **kwargs):
        self.log(logging.DEBUG - level + 1, msg, *args, **kwargs)

    def debug2(self, msg, *args, **kwargs):
        self.bbdebug(2, msg, *args, **kwargs)

    def debug3(self, msg, *args, **kwargs):
        self.bbdebug(3, msg, *args, **kwargs)

    def verbose(self, msg, *args, **kwargs):
        self.log(logging.INFO - 1, msg, *args, **kwargs)

    def plain(self, msg, *args, **kwargs):
        self.log(logging.INFO + 1, msg, *args, **kwargs)

    def verbnote(self, msg, *args, **kwargs):
        self.log(logging.INFO + 2, msg, *args, **kwargs)

    def warnonce(self, msg, *args, **kwargs):
        self.log(logging.WARNING - 1, msg, *args, **kwargs)

    def erroronce(self, msg, *args, **kwargs):
        self.log(logging.ERROR - 1, msg, *args, **kwargs)


logging.raiseExceptions = False
logging.setLoggerClass(BBLogger)

logger = logging.getLogger("BitBake")
logger.addHandler(logging.NullHandler())
mainlogger = logging.getLogger("BitBake.Main")


def plain(*args):
    mainlogger.plain("".join(args))


def debug(level, *args):
    if isinstance(level, str):
        args = (level,) + args
        level = 1
    mainlogger.bbdebug(level, "".join(args))


def note(*args):
    mainlogger.info("".join(args))


def verbnote(*args):
    mainlogger.verbnote("".join(args))


def warn(*args):
    mainlogger.warning("".join(args))


def warnonce(*args):
    mainlogger.warnonce("".join(args))


def error(*args, **kwargs):
    mainlogger.error("".join(args), extra=kwargs)


def erroronce(*args):
    mainlogger.erroronce("".join(args))


def fatal(*args, **kwargs):
    """Reports an error and ends what is being done."""
    mainlogger.critical("".join(args), extra=kwargs)
    raise BBHandledException("".join(args))


def deprecated(func, name=None, advice=""):
    """Makes a function warn when it is called."""
    import functools
    import warnings

    text = "Call to deprecated function %s%s." % (name or func.__name__, ": " + advice if advice else "")

    @functools.wraps(func)
    def warning(*args, **kwargs):
        warnings.warn(text, category=DeprecationWarning, stacklevel=2)
        return func(*args, **kwargs)

    return warning


# Layer modules use these two without importing them.
builtins.bb = sys.modules[__name__]
builtins.os = os

from bb import msg, filter, utils, event, data_smart, data, process, build, siggen, runqueue, codeparser, parse  # noqa: E402,F401
from bb import fetch2 as fetch  # noqa: E402

sys.modules["bb.fetch"] = fetch
