"""The datastore as metadata sees it; it lives on the other side of the bridge."""

import logging

from buildnet_bridge import DataContext, DataSmart, VariableParse  # noqa: F401

logger = logging.getLogger("BitBake.Data")


class ExpansionError(Exception):
    """A value that could not be expanded."""

    def __init__(self, varname, expression, exception):
        self.variablename = varname
        self.expression = expression
        self.exception = exception
        self.varlist = [varname or expression or ""]
        what = "Failure expanding %s" % ("variable %s" % varname if varname else "expression %s" % expression)
        if varname and expression:
            what += ", expression was %s" % expression
        self.msg = "%s: %s: %s" % (what, type(exception).__name__, exception)
        super().__init__(self.msg)
        self.args = (varname, expression, exception)

    def addVar(self, varname):
        if varname:
            self.varlist.append(varname)

    def __str__(self):
        return "%s\nThe variable dependency chain for the failure is: %s" % (self.msg, " -> ".join(self.varlist))
