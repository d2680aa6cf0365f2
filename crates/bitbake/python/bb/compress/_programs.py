"""A file whose bytes go through a program."""

import builtins
import contextlib
import io
import shutil
import subprocess


class ProgramFile(io.RawIOBase):
    """Reads what a program prints for a file, or writes what it then stores."""

    def __init__(self, name, mode, command):
        super().__init__()
        self.name = name
        self.mode = mode
        self._writing = "w" in mode or "x" in mode or "a" in mode
        file = name if hasattr(name, "fileno") or isinstance(name, int) else builtins.open(name, mode[0] + "b")
        self._file = file
        ends = {"stdin": subprocess.PIPE, "stdout": file} if self._writing else {"stdin": file, "stdout": subprocess.PIPE}
        self._program = subprocess.Popen(command, **ends)
        self._pipe = self._program.stdin if self._writing else self._program.stdout

    def readable(self):
        return not self._writing

    def writable(self):
        return self._writing

    def fileno(self):
        return self._pipe.fileno()

    def readinto(self, buffer):
        data = self._pipe.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data):
        self._pipe.write(data)
        return len(data)

    def close(self):
        if self.closed:
            return
        self._pipe.close()
        status = self._program.wait()
        with contextlib.suppress(AttributeError):
            self._file.close()
        super().close()
        if self._writing and status != 0:
            raise OSError("%s failed with code %d" % (self._program.args[0], status))


def open_through(name, mode, command, encoding=None, errors=None, newline=None):
    raw = ProgramFile(name, mode.replace("t", "").replace("b", ""), command)
    file = io.BufferedWriter(raw) if raw.writable() else io.BufferedReader(raw)
    if "t" in mode:
        return io.TextIOWrapper(file, encoding, errors, newline)
    return file


def first_program(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise FileNotFoundError("none of %s is installed" % ", ".join(names))
