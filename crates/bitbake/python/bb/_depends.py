"""Dependency strings: `name (>= 1.0) other …`."""

import collections

import bb.filter
from bb._versions import VersionStringException

_OPERATORS = ("<=", "=<", "<<", "==", "!=", ">=", "=>", ">>", "<", ">", "=")


@bb.filter.filter_proc(name="bb.utils.explode_deps")
def explode_deps(s):
    """The names, without what stands in brackets."""
    names = []
    inside = False
    for word in s.split():
        inside = inside or word[0] == "("
        if not inside:
            names.append(word)
        elif word.endswith(")"):
            inside = False
    return names


def explode_dep_versions2(s, *, sort=True):
    """Name to a list of versions, each with its operator, such as `>= 1.0`."""
    found = collections.OrderedDict()
    name, operator, version = None, "", ""
    # Where the reader is: among names, before an operator, or inside a version.
    names, before_operator, in_version = range(3)
    state = names
    for word in s.replace(",", "").split():
        if word[0] == "(":
            state = before_operator
            word = word[1:].strip()
            if not word:
                continue
        if state == before_operator:
            state = in_version
            operator = next((op for op in _OPERATORS if word.startswith(op)), None)
            if operator is None:
                raise VersionStringException('Invalid version specification in "(%s" - invalid or missing operator' % word)
            word = word[len(operator):]
            if not word:
                continue
        if state == in_version:
            if word.endswith(")"):
                state = names
                word = word[:-1]
                if version and word:
                    version += " "
            if word:
                version += word
                found.setdefault(name, []).append(operator + " " + version)
            continue
        name, operator, version = word, "", ""
        if not found.get(name):
            found[name] = []
    return collections.OrderedDict(sorted(found.items())) if sort else found


def explode_dep_versions(s):
    """Name to its one version, or None."""
    found = explode_dep_versions2(s)
    for name, versions in found.items():
        if len(versions) > 1:
            bb.warn("explode_dep_versions(): %s has several versions in '%s'; only the first counts" % (name, s))
        found[name] = versions[0] if versions else None
    return found


def join_deps(deps, commasep=True):
    """The string for a dictionary of names and versions."""
    words = []
    for name, versions in deps.items():
        if not versions:
            words.append(name)
            continue
        for version in versions if isinstance(versions, list) else [versions]:
            words.append("%s (%s)" % (name, version))
    return (", " if commasep else " ").join(words)
