"""The Python process that BuildNet starts: serves requests on its standard input and output until they close."""

import logging
import os
import sys


class Forward(logging.Handler):
    """Hands what metadata logs to BuildNet."""

    def emit(self, record):
        import buildnet_bridge

        if record.levelno >= logging.INFO:
            buildnet_bridge.tell("log", record.levelno, record.getMessage())


def main():
    sys.path[0:0] = sys.argv[1:]
    # The runtime's directory is private, and the next worker starts faster; the layers' directories are not ours to write.
    sys.dont_write_bytecode = False
    reader = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
    writer = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    # What metadata prints must not get into the messages, nor may it read them.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    import buildnet_seen

    buildnet_seen.tell()
    import buildnet_bridge

    buildnet_bridge.connect(reader, writer)
    import bb
    import bb.build
    import bb.data
    import bb.data_smart
    import bb.event
    import bb.fetch2
    import bb.filter
    import bb.parse
    import bb.process
    import bb.siggen
    import bb.utils

    buildnet_seen.watch(sys.argv[1:])
    sys.dont_write_bytecode = True
    bb.data_smart.DataSmart = buildnet_bridge.DataSmart
    bb.data._dict_type = buildnet_bridge.DataSmart
    logger = logging.getLogger("BitBake")
    logger.propagate = False
    logger.handlers[:] = [Forward()]
    logger.setLevel(logging.INFO)
    sys.setrecursionlimit(5000)
    while True:
        buildnet_bridge.serve(buildnet_bridge.receive())


main()
