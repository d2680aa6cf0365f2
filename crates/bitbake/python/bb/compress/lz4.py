"""LZ4 files."""

from bb.compress._programs import first_program, open_through


def open(filename, mode="rb", compresslevel=1, encoding=None, errors=None, newline=None):
    command = [first_program("lz4", "lz4c"), "-z" if "r" not in mode else "-d", "-c", "-q"]
    if "r" not in mode:
        command.append("-%d" % compresslevel)
    return open_through(filename, mode, command, encoding, errors, newline)
