"""Configuration files, as Python in the metadata asks for them."""

from buildnet_bridge import call


def include(parentfn, fns, lineno, data, error_out):
    """Reads configuration files now; `error_out` names the directive, when a missing file is an error."""
    call("include", data._handle, parentfn, fns, int(lineno), error_out or "")
