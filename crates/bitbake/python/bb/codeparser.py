"""What Python and shell text refer to; the scanners are on the other side."""

from buildnet_bridge import call


class PythonParser:
    """Looks for variables that are read, functions that are called, and words that are tested."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.references = set()
        self.execs = set()
        self.contains = {}

    def parse_python(self, node, lineno=0, filename="<string>"):
        references, execs, contains = call("pythonrefs", node or "")
        self.references = set(references)
        self.execs = set(execs)
        self.contains = {name: set(words) for name, words in contains.items()}


class ShellParser:
    """Looks for commands that are run."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.execs = set()

    def parse_shell(self, value):
        self.execs = shell_commands(value)
        return self.execs


def shell_commands(text):
    """The names of the commands a shell text runs."""
    return set(call("shellexecs", text or ""))
