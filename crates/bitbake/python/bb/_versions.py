"""How versions compare."""

import re

_PIECE = re.compile(r"(?P<digits>[0-9]+)|(?P<letters>[a-zA-Z]+)|(?P<other>.)", re.DOTALL)
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)


class VersionStringException(Exception):
    """A version or a comparison that means nothing."""


def explode_version(s):
    """A version as (rank, piece): `~` ranks -1, numbers 0, letters 1, anything else 2."""
    pieces = []
    for match in _PIECE.finditer(s):
        text = match.group()
        if match.group("digits"):
            pieces.append((0, int(text)))
        elif match.group("letters"):
            pieces.append((1, text))
        else:
            pieces.append((-1 if text == "~" else 2, text))
    return pieces


def split_version(s):
    """(epoch, version, revision) of `[PE:]PV[-PR]`."""
    s = s.strip(" <>=")
    epoch = 0
    fields = s.split(":")
    if len(fields) > 1:
        epoch, s = int(fields[0]), fields[1]
    version, dash, revision = s.rpartition("-")
    return (epoch, version, revision) if dash else (epoch, s, "")


def vercmp_part(a, b):
    left, right = explode_version(a), explode_version(b)
    end = (0, None)
    for at in range(max(len(left), len(right))):
        rank_a, piece_a = left[at] if at < len(left) else end
        rank_b, piece_b = right[at] if at < len(right) else end
        if rank_a != rank_b:
            return -1 if rank_a < rank_b else 1
        if piece_a is None:
            return -1
        if piece_b is None:
            return 1
        if piece_a != piece_b:
            return -1 if piece_a < piece_b else 1
    return 0


def vercmp(ta, tb):
    """Less than, equal to or greater than zero, as the first (epoch, version, revision) relates to the second."""
    return int(ta[0] or 0) - int(tb[0] or 0) or vercmp_part(ta[1], tb[1]) or vercmp_part(ta[2], tb[2])


def vercmp_string(a, b):
    return vercmp(split_version(a), split_version(b))


def vercmp_string_op(a, b, op):
    order = vercmp_string(a, b)
    holds = {
        "=": order == 0,
        "==": order == 0,
        "!=": order != 0,
        "<": order < 0,
        "<<": order < 0,
        "<=": order <= 0,
        ">": order > 0,
        ">>": order > 0,
        ">=": order >= 0,
    }
    if op not in holds:
        raise VersionStringException('Unsupported comparison operator "%s"' % op)
    return holds[op]


def is_semver(version):
    return _SEMVER.match(version) is not None
