"""Filters that a variable's value passes through when it is read (`d.setVarFilter`)."""

_names = {"__builtins__": {}}
_results = {}


class Namespace:
    """A dotted part of a filter's name, read-only from inside an expression."""

    def __setattr__(self, name, value):
        raise AttributeError("Attribute %r cannot be changed" % name)

    def __delattr__(self, name):
        raise AttributeError("Attribute %r cannot be deleted" % name)


def filter_proc(*, name=None):
    """Decorator: makes a pure function callable in filter expressions, under its own or a dotted name."""

    def register(function):
        *spaces, last = (name or function.__name__).split(".")
        place = _names
        for space in spaces:
            place = vars(place.setdefault(space, Namespace()))
        place[last] = function
        return function

    return register


def apply_filters(val, expressions):
    """The value after each expression, which sees it as `val`."""
    for expression in expressions:
        expression = expression.strip()
        if not expression:
            continue
        key = (val, expression)
        if key not in _results:
            _results[key] = eval(expression, dict(_names), {"val": val})
        val = _results[key]
    return val


for _builtin in (all, any, bin, bool, chr, enumerate, float, format, hex, int, len, map, max, min, oct, ord, pow, str, sum):
    filter_proc()(_builtin)


@filter_proc()
def suffix(val, suffix):
    return " ".join([word + suffix for word in val.split()])


@filter_proc()
def prefix(val, prefix):
    return " ".join([prefix + word for word in val.split()])


@filter_proc()
def sort(val):
    return " ".join(sorted(val.split()))


@filter_proc()
def remove(val, remove, sep=None):
    unwanted = remove.split(sep) if isinstance(remove, str) else remove
    return (sep or " ").join([word for word in val.split(sep) if word not in unwanted])
