"""Tasks: declaring, ordering and running them."""

import logging
import os

import bb
from bb import event
from bb.msg import BBLogFormatter

logger = logging.getLogger("BitBake.Build")
logformatter = BBLogFormatter("%(levelname)s: %(message)s")

verboseShellLogging = False
verboseStdoutLogging = False


class FuncFailed(Exception):
    """A function that failed, with its name and log file."""

    def __init__(self, name=None, logfile=None):
        super().__init__(name, logfile)
        self.name = name
        self.logfile = logfile

    def __str__(self):
        return "Function failed: %s%s" % (self.name, " (log file is located at %s)" % self.logfile if self.logfile else "")


class TaskBase(event.Event):
    """Something that happened to a task."""

    def __init__(self, t, fn, logfile, d):
        super().__init__()
        self._task = t
        self._fn = fn
        self._package = d.getVar("PF")
        self._mc = d.getVar("BB_CURRENT_MC")
        self.taskfile = d.getVar("FILE")
        self.taskname = t
        self.logfile = logfile
        self._message = "recipe %s: task %s: %s" % (self._package, t, self.getDisplayName())

    def getTask(self):
        return self._task

    def setTask(self, task):
        self._task = task

    def getDisplayName(self):
        return type(self).__name__.replace("Task", "")

    task = property(getTask, setTask)


class TaskStarted(TaskBase):
    def __init__(self, t, fn, logfile, taskflags, d):
        super().__init__(t, fn, logfile, d)
        self.taskflags = taskflags


class TaskSucceeded(TaskBase):
    pass


class TaskFailed(TaskBase):
    def __init__(self, task, fn, logfile, metadata, errprinted=False):
        super().__init__(task, fn, logfile, metadata)
        self.errprinted = errprinted


class TaskFailedSilent(TaskBase):
    def getDisplayName(self):
        return "Failed"


class TaskInvalid(TaskBase):
    def __init__(self, task, fn, metadata):
        super().__init__(task, fn, None, metadata)


class TaskProgress(event.Event):
    def __init__(self, progress, rate=None):
        super().__init__()
        self.progress = progress
        self.rate = rate


def exec_func(func, d, dirs=None):
    """Runs a Python function of the metadata."""
    flags = d.getVarFlags(func) or {}
    if not flags.get("python"):
        raise FuncFailed("%s is a shell function, which runs inside a task only" % func)
    for name in (flags.get("cleandirs") or "").split():
        path = d.expand(name)
        bb.utils.remove(path, recurse=True)
        bb.utils.mkdirhier(path)
    places = [d.expand(name) for name in (dirs if dirs is not None else (flags.get("dirs") or "").split())]
    for place in places:
        bb.utils.mkdirhier(place)
    text = d.getVar(func, False) or ""
    if not text.startswith("def"):
        text = "def %s(d):\n%s" % (func, text)
    code = bb.utils.better_compile(text, func, flags.get("filename") or func, lineno=max(int(flags.get("lineno") or 1) - 1, 0))
    before = os.getcwd()
    try:
        if places:
            os.chdir(places[-1])
        names = bb.utils.get_context()
        exec(code, names)
        names[func](d)
    finally:
        os.chdir(before)


def ensure_task_prefix(name):
    return name if name.startswith("do_") else "do_" + name


def addtask(task, before, after, d):
    """Makes a function a task that runs before and after others."""
    task = ensure_task_prefix(task)
    d.setVarFlag(task, "task", 1)
    tasks = list(d.getVar("__BBTASKS", False) or [])
    if task not in tasks:
        tasks.append(task)
    d.setVar("__BBTASKS", tasks)
    earlier = list(d.getVarFlag(task, "deps", False) or [])
    for name in (after or "").split():
        name = ensure_task_prefix(name)
        if name not in earlier:
            earlier.append(name)
    d.setVarFlag(task, "deps", earlier)
    for name in (before or "").split():
        name = ensure_task_prefix(name)
        others = d.getVarFlag(name, "deps", False) or []
        if task not in others:
            d.setVarFlag(name, "deps", [task] + list(others))


def deltask(task, d):
    """Removes a task, and others' dependencies on it."""
    task = ensure_task_prefix(task)
    tasks = list(d.getVar("__BBTASKS", False) or [])
    if task in tasks:
        tasks.remove(task)
        d.delVarFlag(task, "task")
        d.setVar("__BBTASKS", tasks)
    d.delVarFlag(task, "deps")
    for name in tasks:
        others = d.getVarFlag(name, "deps", False) or []
        if task in others:
            d.setVarFlag(name, "deps", [other for other in others if other != task])


def preceedtask(task, with_recrdeptasks, d):
    """The tasks of the recipe that a task directly follows."""
    if task not in (d.getVar("__BBTASKS", False) or []):
        return set()
    found = set(d.getVarFlag(task, "deps") or [])
    if with_recrdeptasks:
        found.update((d.getVarFlag(task, "recrdeptask") or "").split())
    return found


def tasksbetween(task_start, task_end, d):
    """The tasks on the ways from one task to a later one, both included."""
    tasks = [name for name, value in d.withFlag("task") if value]
    deps = dict(d.withFlag("deps"))
    followers = {}
    for other in tasks:
        for name in deps.get(other) or ():
            followers.setdefault(name, []).append(other)
    found = []

    def follow(way):
        name = way[-1]
        if name == task_end:
            found.extend(step for step in way if step not in found)
            return
        for other in followers.get(name, ()):
            if other in way:
                bb.fatal("Circular task dependencies as %s depends on itself via the chain %s" % (other, " -> ".join(way)))
            follow(way + [other])

    follow([task_start])
    return found


def listtasks(d):
    return tuple(d.getVar("__BBTASKS", False) or ())


def add_tasks(tasklist, d):
    """Gathers what the task graph needs to know of each task in `_task_deps`."""
    gathered = d.getVar("_task_deps", False) or {}
    gathered.setdefault("tasks", [])
    gathered.setdefault("parents", {})
    kinds = (
        "mcdepends", "depends", "rdepends", "deptask", "rdeptask", "recrdeptask", "recideptask", "nostamp", "fakeroot", "noexec", "umask"
    )
    for task in tasklist:
        task = d.expand(task)
        d.setVarFlag(task, "task", 1)
        if task not in gathered["tasks"]:
            gathered["tasks"].append(task)
        flags = d.getVarFlags(task) or {}
        for kind in kinds:
            values = gathered.setdefault(kind, {})
            if kind in flags:
                values[task] = d.expand(flags[kind])
        gathered["parents"][task] = [d.expand(name) for name in flags.get("deps", [])]
    d.setVar("_task_deps", gathered)


def write_taint(task, d, filename=None):
    """Has a task run again whatever its signature."""
    import uuid

    path = "%s.%s.taint" % (filename or d.getVar("STAMP"), task)
    bb.utils.mkdirhier(os.path.dirname(path))
    with open(path, "w") as taint:
        taint.write(str(uuid.uuid4()))


def shell_trap_code():
    """Shell text that reports where a script failed."""
    return (
        "#!/bin/sh\n\n"
        "bb_exit_handler() {\n"
        "    ret=$?\n"
        '    case $ret in 0) ;; *) echo "WARNING: exit code $ret from a shell command."; exit $ret;; esac\n'
        "}\n"
        "trap 'bb_exit_handler' 0\n"
        "set -e\n"
    )
