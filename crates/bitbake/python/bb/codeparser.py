"""What shell text runs; the scanner is on the other side."""

from buildnet_bridge import call


def shell_commands(text):
    """The names of the commands a shell text runs."""
    return set(call("shellexecs", text or ""))
