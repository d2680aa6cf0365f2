"""Events and their handlers."""

import collections
import logging

import bb

logger = logging.getLogger("BitBake.Event")

Registered = 10
AlreadyRegistered = 14

worker_pid = 0
_handlers = collections.OrderedDict()
_masks = {}


class Event:
    """Something that happened."""

    def __init__(self):
        self.pid = worker_pid


class HeartbeatEvent(Event):
    def __init__(self, time):
        super().__init__()
        self.time = time


class OperationStarted(Event):
    def __init__(self, msg="Operation Started"):
        super().__init__()
        self.msg = msg


class OperationCompleted(Event):
    def __init__(self, total, msg="Operation Completed"):
        super().__init__()
        self.total = total
        self.msg = msg


class OperationProgress(Event):
    def __init__(self, current, total, msg="Operation in Progress"):
        super().__init__()
        self.current = current
        self.total = total
        self.msg = "%s: %s/%s" % (msg, current, total)


class ConfigParsed(Event):
    """The configuration is complete."""


class MultiConfigParsed(Event):
    """All configurations are complete."""

    def __init__(self, mcdata):
        from buildnet_bridge import DataSmart

        super().__init__()
        self.mcdata = {name: DataSmart(store) if isinstance(store, int) else store for name, store in mcdata.items()}


class RecipeEvent(Event):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn


class RecipePreDeferredInherits(RecipeEvent):
    def __init__(self, fn, inherits):
        super().__init__(fn)
        self.inherits = inherits


class RecipePreFinalise(RecipeEvent):
    """Before variable names are expanded."""


class RecipePostKeyExpansion(RecipeEvent):
    """After variable names are expanded, before anonymous functions."""


class RecipeTaskPreProcess(RecipeEvent):
    """The list of tasks is final."""

    def __init__(self, fn, tasklist):
        super().__init__(fn)
        self.tasklist = tasklist


class RecipeParsed(RecipeEvent):
    """The recipe is complete."""


class BuildBase(Event):
    def __init__(self, n, p, failures=0):
        super().__init__()
        self._name = n
        self._pkgs = p
        self._failures = failures

    def getPkgs(self):
        return self._pkgs

    def setPkgs(self, pkgs):
        self._pkgs = pkgs

    def getName(self):
        return self._name

    def setName(self, name):
        self._name = name

    def getFailures(self):
        return self._failures

    pkgs = property(getPkgs, setPkgs)
    name = property(getName, setName)


class BuildInit(BuildBase):
    def __init__(self, p=()):
        super().__init__(None, list(p))


class BuildStarted(BuildBase):
    def __init__(self, n, p, failures=0):
        super().__init__(n, p, failures)
        self.msg = "Building Started"


class BuildCompleted(BuildBase):
    def __init__(self, total, n, p, failures=0, interrupted=0):
        super().__init__(n, p, failures)
        self.total = total
        self.msg = "Building Failed" if failures else "Building Succeeded"
        self._interrupted = interrupted


class DiskUsageSample:
    def __init__(self, available_bytes, free_bytes, total_bytes):
        self.available_bytes = available_bytes
        self.free_bytes = free_bytes
        self.total_bytes = total_bytes


class MonitorDiskEvent(Event):
    def __init__(self, disk_usage):
        super().__init__()
        self.disk_usage = disk_usage


class DiskFull(Event):
    def __init__(self, dev, type, freespace, mountpoint):
        super().__init__()
        self._dev = dev
        self._type = type
        self._free = freespace
        self._mountpoint = mountpoint


class NoProvider(Event):
    def __init__(self, item, runtime=False, dependees=None, reasons=None, close_matches=None):
        super().__init__()
        self._item = item
        self._runtime = runtime
        self._dependees = dependees
        self._reasons = reasons or []
        self._close_matches = close_matches or []

    def getItem(self):
        return self._item

    def isRuntime(self):
        return self._runtime

    def __str__(self):
        kind = "R" if self._runtime else ""
        text = "Nothing %sPROVIDES '%s'" % (kind, self._item)
        if self._dependees:
            text += " (but %s %sDEPENDS on or otherwise requires it)" % (", ".join(self._dependees), kind)
        if self._close_matches and not self._reasons:
            text += ". Close matches:\n  %s" % "\n  ".join(sorted(set(self._close_matches)))
        return "\n".join([text] + list(self._reasons))


class MultipleProviders(Event):
    def __init__(self, item, candidates, runtime=False):
        super().__init__()
        self._item = item
        self._candidates = candidates
        self._is_runtime = runtime

    def isRuntime(self):
        return self._is_runtime

    def getItem(self):
        return self._item

    def getCandidates(self):
        return self._candidates

    def __str__(self):
        return "Multiple providers are available for %s%s (%s)\nConsider defining a PREFERRED_%sPROVIDER entry to match %s" % (
            "runtime " if self._is_runtime else "", self._item, ", ".join(self._candidates),
            "R" if self._is_runtime else "", self._item)


class ParseStarted(OperationStarted):
    def __init__(self, total):
        super().__init__("Recipe parsing Started")
        self.total = total


class ParseCompleted(OperationCompleted):
    def __init__(self, cached, parsed, skipped, masked, virtuals, errors, total):
        super().__init__(total, "Recipe parsing Completed")
        self.cached = cached
        self.parsed = parsed
        self.skipped = skipped
        self.virtuals = virtuals
        self.masked = masked
        self.errors = errors
        self.sofar = cached + parsed


class ParseError(Event):
    def __init__(self, error):
        super().__init__()
        self.error = error


class TreeDataPreparationStarted(OperationStarted):
    def __init__(self):
        super().__init__("Preparing tree data Started")


class TreeDataPreparationCompleted(OperationCompleted):
    def __init__(self, total):
        super().__init__(total, "Preparing tree data Completed")


class DepTreeGenerated(Event):
    def __init__(self, depgraph):
        super().__init__()
        self._depgraph = depgraph


class ReachableStamps(Event):
    def __init__(self, stamps):
        super().__init__()
        self.stamps = stamps

    @property
    def stampPrefixes(self):
        return {stamp.rsplit(".do_", 1)[0] for stamp in self.stamps}


class StaleSetSceneTasks(Event):
    def __init__(self, tasks):
        super().__init__()
        self.tasks = tasks


class LogExecTTY(Event):
    def __init__(self, msg, prog, sleep_delay, retries):
        super().__init__()
        self.msg = msg
        self.prog = prog
        self.sleep_delay = sleep_delay
        self.retries = retries


class MetadataEvent(Event):
    """Data of any kind that metadata sends to the user interface."""

    def __init__(self, eventtype, eventdata):
        super().__init__()
        self.type = eventtype
        self._localdata = eventdata


class ProcessStarted(Event):
    def __init__(self, processname, total):
        super().__init__()
        self.processname = processname
        self.total = total


class ProcessProgress(Event):
    def __init__(self, processname, progress):
        super().__init__()
        self.processname = processname
        self.progress = progress


class ProcessFinished(Event):
    def __init__(self, processname):
        super().__init__()
        self.processname = processname


class SanityCheck(Event):
    def __init__(self, generateevents=True):
        super().__init__()
        self.generateevents = generateevents


class SanityCheckPassed(Event):
    pass


class SanityCheckFailed(Event):
    def __init__(self, msg, network_error=False):
        super().__init__()
        self._msg = msg
        self._network_error = network_error


class NetworkTest(Event):
    def __init__(self, generateevents=True):
        super().__init__()
        self.generateevents = generateevents


class NetworkTestPassed(Event):
    pass


class NetworkTestFailed(Event):
    pass


def getName(e):
    """The name of an event, or of its class."""
    return getattr(e, "__name__", None) or e.__class__.__name__


def register(name, handler, mask=None, filename=None, lineno=None, data=None):
    """Adds a handler: a function of (event, datastore), or its body as text."""
    if name in _handlers:
        return AlreadyRegistered
    if isinstance(handler, str):
        code = compile("\n" * max((lineno or 1) - 1, 0) + "def %s(e, d):\n%s" % (name, handler), filename or name, "exec")
        names = {}
        exec(code, bb.utils.get_context(), names)
        handler = names[name]
    _handlers[name] = handler
    _masks[name] = None if not mask or "*" in mask else frozenset(mask)
    return Registered


def remove(name, handler, data=None):
    _handlers.pop(name)
    _masks.pop(name, None)


def get_handlers():
    return _handlers


def fire_class_handlers(event, d):
    name = type(event).__module__ + "." + type(event).__name__
    for handler_name, handler in list(_handlers.items()):
        mask = _masks.get(handler_name)
        if mask is None or name in mask:
            event.data = d
            try:
                handler(event, d)
            finally:
                del event.data


def fire(event, d):
    """Calls the handlers of an event."""
    fire_class_handlers(event, d)


def enable_threadlock():
    """Handlers run one at a time here; there is no lock to turn on."""


def disable_threadlock():
    """Handlers run one at a time here; there is no lock to turn off."""


def check_for_interrupts(d=None):
    """An interrupted process is ended from outside; there is nothing to look for."""
