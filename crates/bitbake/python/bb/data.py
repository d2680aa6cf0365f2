"""Functions on a datastore."""

import re
import sys

import bb
from bb import data_smart
from bb.data_smart import logger  # noqa: F401

_dict_type = data_smart.DataSmart


def init():
    return _dict_type()


def init_db(parent=None):
    return parent.createCopy() if parent is not None else _dict_type()


def createCopy(source):
    return source.createCopy()


def initVar(var, d):
    d.initVar(var)


def keys(d):
    return d.keys()


def expand(s, d, varname=None):
    return d.expand(s, varname)


def expandKeys(alterdata, readdata=None):
    """Renames the variables whose names contain references."""
    readdata = alterdata if readdata is None else readdata
    renamed = {key: expand(key, readdata) for key in alterdata.keys() if "${" in key}
    for key in sorted(renamed):
        new = renamed[key]
        if new == key:
            continue
        if alterdata.getVar(new, False) is not None and alterdata.getVar(key, False) is not None:
            bb.warn("Variable key %s (%s) replaces original key %s (%s)." % (
                key, alterdata.getVar(key, False), new, alterdata.getVar(new, False)))
        alterdata.renameVar(key, new)


def build_dependencies(key, keys, mod_funcs, shelldeps, varflagsexcl, ignored_vars, d, codeparsedata):
    """The names that a variable needs, and its value, both as for a signature. What the datastore knows itself is not taken from the arguments."""
    from buildnet_bridge import call

    depends, value = call("dependencies", d._handle, key, sorted(ignored_vars))
    return set(depends), value


def inherits_class(klass, d):
    """Whether the recipe inherits a class, by its name without `.bbclass`."""
    end = "/%s.bbclass" % klass
    return any(name.endswith(end) for name in d.getVar("__inherit_cache", False) or ())


def exported_keys(d):
    boolean = bb.utils.to_boolean
    return (
        key
        for key in d.keys()
        if not key.startswith("__") and boolean(d.getVarFlag(key, "export")) and not boolean(d.getVarFlag(key, "unexport"))
    )


def exported_vars(d):
    for key in list(exported_keys(d)):
        try:
            value = d.getVar(key)
        except Exception as error:
            bb.warn("%s: Unable to export ${%s}: %s" % (d.getVar("FILE"), key, error))
            continue
        if value is not None:
            yield key, str(value)


def emit_var(var, o=sys.__stdout__, d=None, all=False):
    """Writes a variable or function as shell text; says whether it was a function."""
    function = d.getVarFlag(var, "func", False)
    export = bb.utils.to_boolean(d.getVarFlag(var, "export"))
    unexport = bb.utils.to_boolean(d.getVarFlag(var, "unexport"))
    if d.getVarFlag(var, "python", False) and function:
        return False
    if not (all or export or unexport or function):
        return False
    value = d.getVar(var)
    if all:
        old = d.getVar(var, False)
        commented = re.sub("\n", "\n#", str(old))
        o.write("# %s=%s\n" % (var, commented))
    if "-" in var or "." in var or "{" in var or "}" in var or "+" in var:
        return False
    if value is None:
        return False
    value = str(value)
    name = d.expand(var)
    if unexport:
        o.write("unset %s\n" % name)
        return False
    if function:
        o.write("# line: %s, file: %s\n" % (d.getVarFlag(var, "lineno", False), d.getVarFlag(var, "filename", False)))
        o.write("%s() {\n%s\n}\n" % (name, value.rstrip("\n")))
        return True
    if export:
        o.write("export ")
    for special, quoted in (('"', '\\"'), ("`", "\\`"), ("\n", " \\\n"), ("$", "\\$")):
        value = value.replace(special, quoted)
    o.write('%s="%s"\n' % (name, value))
    return False


def emit_env(o=sys.__stdout__, d=None, all=False):
    """Writes all variables, then all functions."""
    names = sorted(key for key in d.keys() if not key.startswith("__"))
    for functions in (False, True):
        for key in names:
            if bool(d.getVarFlag(key, "func", False)) == functions and emit_var(key, o, d, all and not functions):
                o.write("\n")


def emit_func(func, o=sys.__stdout__, d=None):
    """Writes the exported variables, a function, and the functions it calls."""
    for key in sorted(key for key in d.keys() if not key.startswith("__") and not d.getVarFlag(key, "func", False)):
        emit_var(key, o, d, False)
    o.write("\n")
    if emit_var(func, o, d, False):
        o.write("\n")
    written = {func}
    waiting = _called(func, d)
    while waiting:
        batch = sorted(waiting - written)
        waiting = set()
        for name in batch:
            written.add(name)
            if d.getVarFlag(name, "func", False) and not d.getVarFlag(name, "python", False):
                if emit_var(name, o, d, False):
                    o.write("\n")
                waiting |= _called(name, d)


def _called(func, d):
    return bb.codeparser.shell_commands(d.getVar(func)) | set((d.getVarFlag(func, "vardeps") or "").split())
