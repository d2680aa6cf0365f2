"""Values that are lists of words, and other small conversions."""

import collections

import bb


def _words(values):
    return set(values.split()) if isinstance(values, str) else set(values)


def contains(variable, checkvalues, truevalue, falsevalue, d):
    """`truevalue` when the variable holds every one of the words."""
    value = d.getVar(variable)
    if value and _words(checkvalues) <= set(value.split()):
        return truevalue
    return falsevalue


def contains_any(variable, checkvalues, truevalue, falsevalue, d):
    """`truevalue` when the variable holds one of the words."""
    value = d.getVar(variable)
    if value and _words(checkvalues) & set(value.split()):
        return truevalue
    return falsevalue


def filter_string(val, checkvalues):
    """Those words of a text that are among the given ones, sorted."""
    return " ".join(sorted(_words(checkvalues) & set(val.split()))) if val else ""


def filter(variable, checkvalues, d):
    """Those words of a variable that are among the given ones, sorted."""
    return filter_string(d.getVar(variable), checkvalues)


def to_boolean(string, default=None):
    if not string:
        return default
    if isinstance(string, int):
        return string != 0
    word = string.lower()
    if word in ("y", "yes", "1", "true"):
        return True
    if word in ("n", "no", "0", "false"):
        return False
    raise ValueError("Invalid value for to_boolean: %s" % string)


def to_filemode(input):
    return input if type(input) is int else int(input, 8)


def prune_suffix(var, suffixes, d):
    """The text without the first of the suffixes that it ends in."""
    for suffix in suffixes:
        if suffix and var.endswith(suffix):
            return var[: -len(suffix)]
    return var


def get_referenced_vars(start_expr, d):
    """The variables that an expression refers to, directly and through others, breadth first."""
    empty = bb.data.init()
    found = []
    seen = set()
    waiting = collections.deque([(None, start_expr)])
    while waiting:
        name, text = waiting.popleft()
        if name is not None:
            found.append(name)
            text = d.getVar(name, False)
        for reference in sorted(set(empty.expandWithRefs(text, None).references) - seen):
            seen.add(reference)
            waiting.append((reference, None))
    return found
