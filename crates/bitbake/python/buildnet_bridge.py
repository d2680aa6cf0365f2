"""The Python side of BuildNet's datastore bridge.

Messages go over two pipes, each a length (four bytes, little endian) and a marshalled tuple (version 2 of the format, which no
Python release changed). BuildNet sends requests and answers; this process sends calls and results. While a call is open, BuildNet
may send requests of its own (an expansion that needs Python), so waiting for an answer serves what comes in between.
"""

import builtins
import marshal
import struct
import sys
import traceback
from collections.abc import MutableMapping

import buildnet_seen

FORMAT = 2

_read = None
_write = None
_objects = {}
_object_ids = {}
_dead = []


def connect(reader, writer):
    """Takes the two ends of the pipes, as binary files."""
    global _read, _write
    _read, _write = reader, writer


def send(message):
    try:
        data = marshal.dumps(message, FORMAT)
    except ValueError:
        data = marshal.dumps(plain(message), FORMAT)
    _write.write(struct.pack("<I", len(data)))
    _write.write(data)
    _write.flush()


def receive():
    head = _read.read(4)
    if len(head) < 4:
        raise SystemExit(0)
    (size,) = struct.unpack("<I", head)
    return marshal.loads(_read.read(size))


def plain(value):
    """What the other side understands: plain types, and objects by their number."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind in (int, float, str):
        return value
    if kind is bytes:
        return reference(value)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if kind is list:
        return [plain(item) for item in value]
    if kind is tuple:
        return tuple([plain(item) for item in value])
    if kind in (set, frozenset):
        return {plain(item) for item in value}
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return reference(value)


def reference(value):
    number = _object_ids.get(id(value))
    if number is None:
        number = len(_objects) + 1
        _objects[number] = value
        _object_ids[id(value)] = number
    return struct.pack("<Q", number)


def revive(value):
    """The value a message carries: objects instead of their numbers."""
    kind = type(value)
    if kind is bytes:
        return _objects[struct.unpack("<Q", value)[0]]
    if kind is list:
        return [revive(item) for item in value]
    if kind is tuple:
        return tuple([revive(item) for item in value])
    if kind is dict:
        return {key: revive(item) for key, item in value.items()}
    return value


# The running conversation: answers given in advance, how many of them were taken, and writes that were not sent yet.
_script = []
_taken = 0
_writes = []


def call(operation, *arguments):
    """Asks, and waits for the answer."""
    global _script, _taken, _writes
    request = (operation,) + arguments
    if _taken < len(_script):
        known, answer = _script[_taken]
        if known == request:
            _taken += 1
            return told(answer)
    message = ("c", _taken, _writes) + request
    _script, _taken, _writes = [], 0, []
    send(message)
    while True:
        message = receive()
        if message[0] in ("v", "x"):
            _script = message[-1]
            _taken = 0
            return told(message)
        serve(message)


def tell(operation, *arguments):
    """Writes, without waiting."""
    global _script, _taken
    request = (operation,) + arguments
    if _taken < len(_script):
        known, answer = _script[_taken]
        if known == request:
            _taken += 1
            told(answer)
            return
        # What was told in advance may be otherwise after this write.
        del _script[_taken:]
    _writes.append(request)


def told(answer):
    if answer[0] == "v":
        value = answer[1]
        return value if type(value) is str or value is None else revive(value)
    raise error_of(answer[1], answer[2])


def error_of(kind, text):
    import bb

    if kind == "skip":
        return bb.parse.SkipRecipe(text)
    if kind == "expansion":
        error = bb.data_smart.ExpansionError("", "", Exception(text))
        error.msg = text
        return error
    if kind == "type":
        return TypeError(text)
    if kind == "parse":
        return bb.parse.ParseError(text, "")
    return bb.BBHandledException(text)


def serve(message):
    """Carries out one request and sends its result."""
    global _script, _taken, _writes
    outer = (_script, _taken, _writes)
    _script, _taken, _writes = message[1], 0, []
    seen = buildnet_seen.begin()
    try:
        value = REQUESTS[message[0]](*message[2:])
        answer = ("r", _taken, _writes, list(_dead), value, buildnet_seen.take())
    except SystemExit as error:
        answer = ("e", _taken, _writes, list(_dead), "SystemExit", str(error.code), "", buildnet_seen.take())
    except BaseException as error:
        answer = ("e", _taken, _writes, list(_dead)) + describe(error) + (buildnet_seen.take(),)
    buildnet_seen.resume(seen)
    del _dead[:]
    _script, _taken, _writes = outer
    send(answer)


def describe(error):
    import bb

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, bb.parse.SkipRecipe):
        return ("SkipRecipe", str(error.args[0]) if error.args else "", text)
    if isinstance(error, SyntaxError):
        return ("SyntaxError", str(error.msg), text)
    kind = type(error).__name__
    if isinstance(error, bb.BBHandledException):
        kind = "BBHandledException"
    return (kind, str(error), text)


class DataSmart(MutableMapping):
    """A datastore of BuildNet's, seen from Python: `d`."""

    __slots__ = ("_handle", "_owned", "__weakref__", "__dict__")

    def __init__(self, handle=None):
        self._owned = handle is None
        self._handle = call("new") if handle is None else handle

    def __del__(self):
        if getattr(self, "_owned", False):
            _dead.append(self._handle)

    def getVar(self, var, expand=True, noweakdefault=False, parsing=False):
        if var == "BB_ORIGENV":
            return DataSmart._adopt(call("origenv"))
        return call("get", self._handle, var, bool(expand), bool(noweakdefault), bool(parsing))

    def setVar(self, var, value, **loginfo):
        tell("set", self._handle, var, value, bool(loginfo.get("parsing")), *_place(loginfo))

    def appendVar(self, var, value, **loginfo):
        tell("set", self._handle, var + ":append", value, True, *_place(loginfo))

    def prependVar(self, var, value, **loginfo):
        tell("set", self._handle, var + ":prepend", value, True, *_place(loginfo))

    def delVar(self, var, **loginfo):
        tell("del", self._handle, var, *_place(loginfo))

    def renameVar(self, key, newkey, **loginfo):
        tell("rename", self._handle, key, newkey, *_place(loginfo))

    def getVarFlag(self, var, flag, expand=True, noweakdefault=False, parsing=False, retparser=False):
        if not flag:
            return None
        if retparser:
            value = call("getflag", self._handle, var, flag, bool(expand), bool(noweakdefault), bool(parsing))
            return value, VariableParse(var if flag == "_content" else "%s[%s]" % (var, flag), self, value)
        return call("getflag", self._handle, var, flag, bool(expand), bool(noweakdefault), bool(parsing))

    def setVarFlag(self, var, flag, value, **loginfo):
        tell("setflag", self._handle, var, flag, value, *_place(loginfo))

    def appendVarFlag(self, var, flag, value, **loginfo):
        tell("appendflag", self._handle, var, flag, value, *_place(loginfo))

    def prependVarFlag(self, var, flag, value, **loginfo):
        tell("prependflag", self._handle, var, flag, value, *_place(loginfo))

    def delVarFlag(self, var, flag, **loginfo):
        tell("delflag", self._handle, var, flag, *_place(loginfo))

    def setVarFlags(self, var, flags, **loginfo):
        for flag in flags:
            if flag != "_content":
                self.setVarFlag(var, flag, flags[flag], **loginfo)

    def getVarFlags(self, var, expand=False, internalflags=False):
        return call("flags", self._handle, var, list(expand) if expand else [], bool(internalflags)) or None

    def delVarFlags(self, var, **loginfo):
        tell("delflags", self._handle, var, *_place(loginfo))

    def expand(self, s, varname=None):
        if not isinstance(s, str) or "${" not in s:
            return s
        return call("expand", self._handle, s, varname)

    def expandWithRefs(self, s, varname):
        return VariableParse(varname, self, s)

    def hasOverrides(self, var):
        return call("hasoverrides", self._handle, var)

    def need_overrides(self):
        call("needoverrides", self._handle)

    @property
    def overrides(self):
        return call("overrides", self._handle)

    def createCopy(self):
        return self.__class__._adopt(call("copy", self._handle))

    @classmethod
    def _adopt(cls, handle):
        copy = cls(handle)
        copy._owned = True
        return copy

    def setVarFilter(self, var, filter):
        tell("setfilter", self._handle, var, filter or "")

    def expandVarref(self, variable, parents=False):
        tell("expandvarref", self._handle, variable)

    def withFlag(self, flag):
        """(name, unexpanded value) of every variable that has the flag, by name."""
        return call("withflag", self._handle, flag)

    def localkeys(self):
        return iter(call("keys", self._handle))

    def __iter__(self):
        return iter(call("keys", self._handle))

    def keys(self):
        return call("keys", self._handle)

    def __len__(self):
        return len(call("keys", self._handle))

    def __contains__(self, var):
        return self.getVar(var, False) is not None

    def __getitem__(self, var):
        value = self.getVar(var, False)
        if value is None:
            raise KeyError(var)
        return value

    def __setitem__(self, var, value):
        self.setVar(var, value)

    def __delitem__(self, var):
        self.delVar(var)

    def __eq__(self, other):
        return isinstance(other, DataSmart) and self._handle == other._handle

    def __hash__(self):
        return hash(self._handle)

    def __copy__(self):
        return self.createCopy()

    @property
    def varhistory(self):
        return VariableHistory(self)

    @property
    def inchistory(self):
        return None

    def enableTracking(self):
        pass

    def disableTracking(self):
        pass


def _place(loginfo):
    return (str(loginfo.get("file") or ""), int(loginfo.get("line") or 0))


class VariableParse:
    """The value of a text and what it refers to, found when first asked for."""

    def __init__(self, varname, d, text):
        self.varname = varname
        self.d = d
        self.unexpanded_value = text
        self._found = None

    def _look(self):
        if self._found is None:
            if isinstance(self.unexpanded_value, str):
                self._found = call("refs", self.d._handle, self.unexpanded_value, self.varname)
            else:
                self._found = (self.unexpanded_value, [], [], {})
        return self._found

    @property
    def value(self):
        return self._look()[0]

    @property
    def references(self):
        return set(self._look()[1])

    @property
    def execs(self):
        return set(self._look()[2])

    @property
    def contains(self):
        return {name: set(words) for name, words in self._look()[3].items()}


class VariableHistory:
    """Who set what: what the store recorded, when it records."""

    def __init__(self, d):
        self.d = d

    def variable(self, var):
        names = ("op", "flag", "file", "line", "detail")
        entries = []
        for row in call("history", self.d._handle, var):
            entry = dict(zip(names, row))
            if entry["flag"] is None:
                del entry["flag"]
            entry["variable"] = var
            entries.append(entry)
        return entries

    def get_variable_files(self, var):
        return [entry["file"] for entry in self.variable(var)]

    def get_variable_lines(self, var, f):
        return [entry["line"] for entry in self.variable(var) if entry["file"] == f]

    def get_variable_refs(self, var):
        refs = {}
        for entry in self.variable(var):
            refs.setdefault(entry["file"], []).append(entry["line"])
        return refs

    def get_variable_items_files(self, var):
        return {}

    def del_var_history(self, var, f=None, line=None):
        pass


class DataContext(dict):
    """Local names of an inline expression: whatever is no other name is a variable."""

    _builtin = {name for name in dir(builtins) if not name.startswith("_")} | {"oe"}

    def __init__(self, d, context):
        dict.__init__(self)
        self.metadata = d
        self["d"] = d
        self._context = context

    def __missing__(self, key):
        if key in self._builtin or key in self._context:
            raise KeyError(key)
        value = self.metadata.getVar(key)
        if value is None:
            raise KeyError(key)
        return value


_expressions = {}
_compiled = {}


def context():
    import bb.utils

    return bb.utils.get_context()


def define(functions):
    """Makes `def` functions of the metadata known: (name, text, file, lines before it)."""
    names = context()
    for name, text, file, line in functions:
        key = (text, file, line)
        code = _compiled.get(key)
        if code is None:
            code = _compiled[key] = compile("\n" * max(line, 0) + text, file, "exec")
        exec(code, names)


def request_eval(handle, functions, code, name):
    define(functions)
    compiled = _expressions.get(code)
    if compiled is None:
        compiled = _expressions[code] = compile(code.strip(), name, "eval")
    d = DataSmart(handle)
    names = dict(context())
    names["d"] = d
    return str(eval(compiled, names, DataContext(d, names)))


def request_run(handle, functions, name, text, file, line):
    define(functions)
    define([(name, text, file, line)])
    context()[name](DataSmart(handle))


def lazy_event(cls):
    """An event whose attributes are made when the first one is asked for: most handlers look at none."""
    lazy = _compiled.get(cls)
    if lazy is None:

        class Lazy(cls):
            def __getattr__(self, name):
                if "_made" in self.__dict__ or name.startswith("__"):
                    raise AttributeError(name)
                self.__dict__["_made"] = True
                cls.__init__(self, *call("arguments"))
                return getattr(self, name)

        Lazy.__name__ = cls.__name__
        Lazy.__qualname__ = cls.__qualname__
        Lazy.__module__ = cls.__module__
        lazy = _compiled[cls] = Lazy
    return lazy.__new__(lazy)


def request_event(handle, functions, name, text, file, line, cls):
    import bb.event

    define(functions)
    key = (name, text, file, line)
    handler = _compiled.get(key)
    if handler is None:
        code = compile("\n" * max(line - 1, 0) + "def %s(e, d):\n%s" % (name, text), file, "exec")
        names = {}
        exec(code, context(), names)
        handler = _compiled[key] = names[name]
    event = lazy_event(getattr(bb.event, cls))
    d = DataSmart(handle)
    event.data = d
    handler(event, d)


def request_call(handle, functions, path, arguments):
    """Calls a library's function by its dotted name; an argument is ("d",) or ("v", value)."""
    define(functions)
    first, *names = path.split(".")
    function = context()[first]
    for name in names:
        function = getattr(function, name)
    d = DataSmart(handle)
    return plain(function(*[d if argument[0] == "d" else revive(argument[1]) for argument in arguments]))


def request_filter(expression, value):
    import bb.filter

    return bb.filter.apply_filters(value, [expression])


def request_pylib(handle, directory, namespace, modules, describe):
    """Imports a layer's library; may say what its functions look like, and where they are, for signatures."""
    import importlib
    import inspect

    names = context()
    for module in modules:
        if module not in names:
            names[module] = __import__(module)
    if directory not in sys.path:
        sys.path.append(directory)
    package = names[namespace] = importlib.import_module(namespace)
    found = []
    for part in getattr(package, "BBIMPORTS", []):
        module = importlib.import_module(namespace + "." + part)
        if not describe:
            continue
        file = module.__file__
        for name in dir(module):
            function = getattr(module, name)
            if name.startswith("_") or not callable(function):
                continue
            try:
                if inspect.getsourcefile(function) != file:
                    continue
            except TypeError:
                continue
            found.append((
                "%s.%s.%s" % (namespace, part, name),
                place(function, file),
                sorted(getattr(function, "bb_vardeps", ())),
                sorted(getattr(function, "bb_vardepsexclude", ())),
                hasattr(function, "visitorcode"),
            ))
    return found


def place(function, file):
    """Where a source text is: file, line of a function (0 for a class), name of a class; None where only `inspect` knows."""
    import inspect

    if inspect.isclass(function):
        return (file, 0, function.__qualname__)
    function = inspect.unwrap(function)
    if inspect.isfunction(function) and function.__code__.co_filename == file:
        return (file, function.__code__.co_firstlineno, "")
    return None


def request_sources(names):
    """The source texts of a library's functions, with the line each begins at; None for what has none."""
    import importlib
    import inspect

    found = []
    for name in names:
        module, _, function = name.rpartition(".")
        try:
            lines, number = inspect.getsourcelines(getattr(importlib.import_module(module), function))
            found.append(("".join(lines), number))
        except (TypeError, OSError):
            found.append(None)
    return found


def request_visit(name, call_text):
    """What a library function's own inspection finds in a call of it."""
    import ast
    import importlib

    module, _, function = name.rpartition(".")
    visitor = getattr(importlib.import_module(module), function).visitorcode
    contains, execs, _ = visitor(name, ast.parse(call_text, mode="eval").body.args)
    return ({key: sorted(words) for key, words in contains.items()}, sorted(execs))


def request_modules():
    """The loaded modules' files, and this Python."""
    return (sys.version, sys.executable, buildnet_seen.modules())


def request_environment(variables):
    import os

    os.environ.clear()
    os.environ.update(variables)


def request_directory(path):
    import os

    os.chdir(path)


REQUESTS = {
    "eval": request_eval,
    "run": request_run,
    "event": request_event,
    "call": request_call,
    "filter": request_filter,
    "pylib": request_pylib,
    "sources": request_sources,
    "visit": request_visit,
    "modules": request_modules,
    "environment": request_environment,
    "directory": request_directory,
}
