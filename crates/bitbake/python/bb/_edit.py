"""Changing values in recipes and configuration files."""

import os
import re


class _Statement:
    """An assignment or a function that is looked for, with the lines of the file it takes."""

    def __init__(self, name, operator, closing, line):
        self.name = name
        # None for a function.
        self.operator = operator
        self.closing = closing
        self.lines = [line]
        self.value = ""

    def take(self, text):
        """Takes what stands on one line, without the line's end; true when the statement ends there."""
        if self.operator is None:
            if text.rstrip() == "}":
                return True
            self.value += text + "\n"
        elif text.endswith(self.closing):
            self.value += text[:-1]
            return True
        else:
            self.value += text[:-1] if text.endswith("\\") else text
        return False

    def written(self, value, operator, indent, minbreak):
        """The lines with another value."""
        if self.operator is None:
            lines = value.splitlines() if isinstance(value, str) else [_space(indent, 4) + line for line in value]
            return [self.lines[0]] + [line + "\n" for line in lines] + ["}\n"]
        start = "%s %s" % (self.name, operator)
        if isinstance(value, str):
            return ['%s "%s"\n' % (start, value)]
        space = _space(indent, len(start) + 2)
        first, rest = (" \\\n", value) if not minbreak or not value else (value[0] + " \\\n", value[1:])
        return [start + ' "' + first] + ["%s%s \\\n" % (space, item) for item in rest] + [space + '"\n']


def _space(indent, level):
    if isinstance(indent, str):
        return indent
    return " " * (level if indent == -1 else indent)


def edit_metadata(meta_lines, variables, varfunc, match_overrides=False):
    """Asks `varfunc(name, value, operator, lines so far)` of each assignment to the variables (patterns; `NAME()` for functions).

    It answers (new value, text or list, or None to drop it; new operator or None; indentation: a number, -1 for that of the quote, or
    the text itself; whether a list's first item stays on the first line). Returns whether anything changed, and the lines.
    """
    overrides = r"(?:_[a-zA-Z0-9_$(){}-]+)?" if match_overrides else ""
    function = r"(%s%s)[ \t]*\([ \t]*\)[ \t]*\{"
    assignment = r"(%s%s)[ \t]*([?+:.]*=[+.]*)[ \t]*([\"'])"
    patterns = []
    for name in variables:
        is_function = name.endswith("()")
        pattern = (function if is_function else assignment) % (name[:-2].rstrip() if is_function else name, overrides)
        patterns.append((is_function, re.compile(pattern)))

    updated = False
    lines = []
    statement = None
    dropped = False

    def finish():
        nonlocal updated, dropped
        before = list(lines)
        value, operator, indent, minbreak = varfunc(
            statement.name, statement.value, statement.operator or "", lines
        )
        updated |= before != lines
        operator = operator or statement.operator
        if value is None:
            updated = dropped = True
        elif value != statement.value or (statement.operator is not None and operator != statement.operator):
            updated = True
            lines.extend(statement.written(value, operator, indent, minbreak))
        else:
            lines.extend(statement.lines)

    for line in meta_lines:
        text = line.rstrip("\n")
        if statement:
            statement.lines.append(line)
            if statement.take(text if statement.operator is None else text.rstrip()):
                finish()
                statement = None
            continue
        if dropped and not text.strip() and (not lines or not lines[-1].strip()):
            dropped = False
            continue
        dropped = False
        for is_function, pattern in patterns:
            match = pattern.match(text)
            if match and is_function:
                statement = _Statement(match.group(1) + "()", None, None, line)
            elif match:
                statement = _Statement(match.group(1), match.group(2), match.group(3), line)
                if statement.take(text[match.end():].rstrip()):
                    finish()
                    statement = None
            if match:
                break
        else:
            lines.append(line)
    if statement:
        lines.extend(statement.lines)
    return updated, lines


def edit_metadata_file(meta_file, variables, varfunc):
    """Does the same to a file, which is written only when something changed; says whether it was."""
    with open(meta_file) as file:
        updated, lines = edit_metadata(file, variables, varfunc)
    if updated:
        with open(meta_file, "w") as file:
            file.writelines(lines)
    return updated


def edit_bblayers_conf(bblayers_conf, add, remove, edit_cb=None):
    """Adds layers to, and removes them from, `BBLAYERS`; `edit_cb` may change each entry that stays.

    Returns the layers that were there already, and those to be removed that were not there.
    """
    home = os.path.expanduser("~")

    def listed(layers):
        layers = [layers] if isinstance(layers, str) else list(layers or [])
        return [layer.rstrip(os.sep) for layer in layers]

    def full(layer):
        return os.path.expanduser(layer.rstrip(os.sep))

    def short(layer):
        return "~" + layer[len(home):] if uses_home and layer.startswith(home + os.sep) else layer

    add, remove = listed(add), listed(remove)
    with open(bblayers_conf) as file:
        old = file.readlines()
    values, operators = [], []

    def look(name, value, operator, newlines):
        values.append(value)
        operators.append(operator)
        return value, None, 0, True

    edit_metadata(old, ["BBLAYERS"], look)
    if not values:
        raise Exception("Unable to find BBLAYERS in %s" % bblayers_conf)
    uses_home = any(layer.startswith("~") for value in values for layer in value.split())
    there = {full(layer) for value in values for layer in value.split()}
    notadded = [layer for layer in add if full(layer) in there]
    notremoved = [layer for layer in remove if full(layer) not in there]
    added = [short(layer) for layer in add if full(layer) not in there]
    gone = {full(layer) for layer in remove}
    at = -1

    def change(name, value, operator, newlines):
        nonlocal at
        at += 1
        before = value.split()
        after = [layer for layer in before if full(layer) not in gone]
        if edit_cb:
            after = [layer for layer in (edit_cb(layer, layer) for layer in after) if layer]
        last = at == len(values) - 1
        single = value[:1] not in (" ", "\t", "") and len(before) == 1
        if last and added and single and after:
            newlines.append('%s %s "%s"\n' % (name, operator, " ".join(after)))
            return " ".join(added), None, 0, True
        if last:
            after += added
        if after == before:
            return value, None, 0, True
        if not after and len(values) > 1:
            return None, None, 0, True
        return after, None, 2, False

    updated, new = edit_metadata(old, ["BBLAYERS"], change)
    if updated:
        with open(bblayers_conf, "w") as file:
            file.writelines(new)
    return notadded, notremoved
