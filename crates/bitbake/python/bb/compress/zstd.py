"""Zstandard files."""

from bb.compress._programs import first_program, open_through


def open(filename, mode="rb", compresslevel=3, num_threads=0, encoding=None, errors=None, newline=None):
    command = [first_program("zstd"), "-q", "-c"]
    if "r" in mode:
        command.append("-d")
    else:
        command += ["-%d" % compresslevel, "-T%d" % num_threads]
    return open_through(filename, mode, command, encoding, errors, newline)
