"""The two kinds of files that metadata consists of."""

__version__ = "1.0"

from bb.parse.parse_py import BBHandler, ConfHandler  # noqa: E402,F401
