"""Running programs."""

import logging
import signal
import subprocess
import threading

import buildnet_seen

logger = logging.getLogger("BitBake.Process")


def subprocess_setup():
    # Python ignores SIGPIPE; programs expect it not to be.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


class CmdError(RuntimeError):
    """A program that did not do its work."""

    def __init__(self, command, msg=None):
        self.command = command if isinstance(command, str) else subprocess.list2cmdline(command)
        self.msg = msg
        super().__init__(command, msg)

    def __str__(self):
        return "Execution of '%s' failed" % self.command + (": %s" % self.msg if self.msg else "")


class NotFoundError(CmdError):
    def __str__(self):
        return "Execution of '%s' failed: command not found" % self.command


class ExecutionError(CmdError):
    """A program that ended with another code than zero."""

    def __init__(self, command, exitcode, stdout=None, stderr=None):
        super().__init__(command)
        self.exitcode = exitcode
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self):
        said = "".join(part for part in (self.stderr, self.stdout) if part)
        return "Execution of '%s' failed with exit code %s" % (self.command, self.exitcode) + (":\n%s" % said if said else "")


class Popen(subprocess.Popen):
    """A program in a session of its own, with pipes."""

    defaults = {
        "close_fds": True,
        "preexec_fn": subprocess_setup,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.PIPE,
        "shell": False,
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **dict(self.defaults, **kwargs))


def run(cmd, input=None, log=None, extrafiles=None, **options):
    """Runs a program to its end; (stdout, stderr) as text. A failure raises."""
    if isinstance(cmd, str) and "shell" not in options:
        options["shell"] = True
    if isinstance(input, str):
        input = input.encode()
    repeatable = not (input or log or extrafiles) and not set(options) - {"cwd"} and buildnet_seen.is_repeatable(cmd)
    try:
        with buildnet_seen.program(repeatable):
            program = Popen(cmd, **options)
    except OSError as error:
        if repeatable:
            buildnet_seen.note("x", "a program that is not there: %s" % (cmd,))
        raise NotFoundError(cmd) if error.errno == 2 else CmdError(cmd, error) from error
    readers = [threading.Thread(target=_follow, args=extra, daemon=True) for extra in extrafiles or ()]
    for reader in readers:
        reader.start()
    out, err = _logged(program, log, input) if log else program.communicate(input)
    if repeatable:
        buildnet_seen.said(cmd, options.get("cwd"), program.returncode, out)
    out = out.decode("utf-8", "replace") if out is not None else out
    err = err.decode("utf-8", "replace") if err is not None else err
    if program.returncode != 0:
        raise ExecutionError(cmd, program.returncode, out, err)
    return out, err


def _follow(file, reader):
    while data := file.read():
        reader(data.decode("utf-8", "replace") if isinstance(data, bytes) else data)


def _logged(program, log, input):
    """Output goes to a log as it comes."""
    parts = {"out": [], "err": []}

    def follow(pipe, part):
        for line in pipe:
            parts[part].append(line)
            log.write(line.decode("utf-8", "replace"))
            log.flush()

    threads = [
        threading.Thread(target=follow, args=(pipe, part))
        for pipe, part in ((program.stdout, "out"), (program.stderr, "err"))
        if pipe is not None
    ]
    for thread in threads:
        thread.start()
    if program.stdin is not None:
        if input:
            program.stdin.write(input)
        program.stdin.close()
    for thread in threads:
        thread.join()
    program.wait()
    return b"".join(parts["out"]), b"".join(parts["err"])
