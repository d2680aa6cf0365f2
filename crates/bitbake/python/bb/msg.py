"""Levels and layout of messages."""

import logging


class BBLogFormatter(logging.Formatter):
    """Names the levels between Python's and prints plain messages bare."""

    DEBUG3 = logging.DEBUG - 2
    DEBUG2 = logging.DEBUG - 1
    DEBUG = logging.DEBUG
    VERBOSE = logging.INFO - 1
    NOTE = logging.INFO
    PLAIN = logging.INFO + 1
    VERBNOTE = logging.INFO + 2
    ERRORONCE = logging.ERROR - 1
    ERROR = logging.ERROR
    WARNONCE = logging.WARNING - 1
    WARNING = logging.WARNING
    CRITICAL = logging.CRITICAL

    levelnames = {
        DEBUG3: "DEBUG",
        DEBUG2: "DEBUG",
        DEBUG: "DEBUG",
        VERBOSE: "NOTE",
        NOTE: "NOTE",
        PLAIN: "",
        VERBNOTE: "NOTE",
        WARNONCE: "WARNING",
        WARNING: "WARNING",
        ERRORONCE: "ERROR",
        ERROR: "ERROR",
        CRITICAL: "ERROR",
    }

    def getLevelName(self, levelno):
        return self.levelnames.get(levelno, "Level %d" % levelno)

    def format(self, record):
        record.levelname = self.getLevelName(record.levelno)
        return record.getMessage() if record.levelno == self.PLAIN else super().format(record)


loggerDefaultLogLevel = BBLogFormatter.NOTE
loggerDefaultDomains = {}


def logger_create(name, output=None, level=logging.INFO, preserve_handlers=False, color="auto"):
    """A logger that prints to a stream."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(output)
    handler.setFormatter(BBLogFormatter("%(levelname)s: %(message)s"))
    if preserve_handlers:
        logger.addHandler(handler)
    else:
        logger.handlers = [handler]
    logger.setLevel(level)
    return logger


def fatal(msgdomain, msg):
    import bb

    bb.fatal(msg)


def warn(msgdomain, msg):
    import bb

    bb.warn(msg)
