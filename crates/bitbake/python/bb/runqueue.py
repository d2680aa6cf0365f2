"""Names of tasks, and what happens to them in a queue."""

from bb import event


def split_mc(n):
    """(multiconfig, rest) of a name."""
    if n.startswith("mc:") and n.count(":") >= 2:
        _, mc, rest = n.split(":", 2)
        return mc, rest
    return "", n


def split_tid(tid):
    mc, fn, taskname, _ = split_tid_mcfn(tid)
    return mc, fn, taskname


def split_tid_mcfn(tid):
    """(multiconfig, file, task, file with its multiconfig) of a task's id."""
    head, _, taskname = tid.rpartition(":")
    mc, fn = split_mc(head)
    return mc, fn, taskname, head


def mc_from_tid(tid):
    return split_mc(tid)[0]


def taskname_from_tid(tid):
    return tid.rpartition(":")[2]


def fn_from_tid(tid):
    return tid.rpartition(":")[0]


def build_tid(mc, fn, taskname):
    return "mc:%s:%s:%s" % (mc, fn, taskname) if mc else "%s:%s" % (fn, taskname)


class runQueueEvent(event.Event):
    def __init__(self, task, stats, rq):
        super().__init__()
        self.taskid = task
        self.taskstring = task
        self.taskname = taskname_from_tid(task)
        self.taskfile = fn_from_tid(task)
        self.taskhash = rq.rqdata.get_task_hash(task)
        self.stats = stats.copy()


class sceneQueueEvent(runQueueEvent):
    def __init__(self, task, stats, rq, noexec=False):
        super().__init__(task, stats, rq)
        self.taskstring = task + "_setscene"
        self.taskname = taskname_from_tid(task) + "_setscene"


class runQueueTaskStarted(runQueueEvent):
    def __init__(self, task, stats, rq, noexec=False):
        super().__init__(task, stats, rq)
        self.noexec = noexec


class sceneQueueTaskStarted(sceneQueueEvent):
    def __init__(self, task, stats, rq, noexec=False):
        super().__init__(task, stats, rq)
        self.noexec = noexec


class runQueueTaskFailed(runQueueEvent):
    def __init__(self, task, stats, exitcode, rq, fakeroot_log=None):
        super().__init__(task, stats, rq)
        self.exitcode = exitcode
        self.fakeroot_log = fakeroot_log


class runQueueTaskCompleted(runQueueEvent):
    pass


class runQueueTaskSkipped(runQueueEvent):
    def __init__(self, task, stats, rq, reason):
        super().__init__(task, stats, rq)
        self.reason = reason


class sceneQueueTaskCompleted(sceneQueueEvent):
    pass
