"""URLs of sources: scheme, host, path, and parameters after semicolons."""

import collections
import re
import urllib.parse

from bb.fetch2.errors import MalformedUrl, MissingParameterError

# Schemes whose address may go without `//` and a host.
_MAY_BE_RELATIVE = ("file", "git")


def _pairs(text, separator):
    """`a=1;b` as an ordered dictionary; a name alone has the value None."""
    fields = (field.partition("=") for field in text.split(separator) if field)
    return collections.OrderedDict((name, value if equals else None) for name, equals, value in fields)


class URI:
    """A URL whose parts can be read and set; `str` puts it together again."""

    def __init__(self, uri=None):
        self.scheme = ""
        self.userinfo = ""
        self.hostname = ""
        self.port = None
        self._path = ""
        self.params = {}
        self.query = {}
        self.relative = False
        if not uri:
            return
        address, _, parameters = uri.partition(";")
        scheme = urllib.parse.urlparse(address).scheme
        if scheme == "file":
            # file://a is the relative file a, not a file of a host.
            address = re.sub(r"(?<=:)//(?!/)", "", address, count=1)
        if scheme and scheme not in urllib.parse.uses_netloc:
            urllib.parse.uses_params.append(scheme)
        parts = urllib.parse.urlparse(address)
        self.scheme = parts.scheme
        self.relative = scheme in _MAY_BE_RELATIVE and re.match(r"\w+:(?!//)", address) is not None
        if not self.relative:
            self.hostname = parts.hostname or ""
            self.port = parts.port
            self.userinfo = (parts.username or "") + (":%s" % parts.password if parts.password else "")
        self.path = urllib.parse.unquote(parts.path)
        if parameters:
            self.params = _pairs(parameters, ";")
        if parts.query:
            self.query = _pairs(parts.query, "&")

    def __str__(self):
        text = "%s:%s" % (self.scheme, "" if self.relative else "//")
        if self.userinfo:
            text += self.userinfo + "@"
        text += self.hostport + self.path_quoted
        if self.query:
            text += "?" + "&".join(["%s=%s" % (name, value) if value else name for name, value in self.query.items()])
        if self.params:
            text += ";" + ";".join(["=".join([name, value]) for name, value in self.params.items()])
        return text

    @property
    def hostport(self):
        return "%s:%d" % (self.hostname, self.port) if self.port else self.hostname

    @property
    def path(self):
        return self._path

    @path.setter
    def path(self, path):
        self._path = path
        self.relative = bool(path) and not path.startswith("/")

    @property
    def path_quoted(self):
        return urllib.parse.quote(self._path)

    @path_quoted.setter
    def path_quoted(self, path):
        self.path = urllib.parse.unquote(path)

    @property
    def username(self):
        return self.userinfo.partition(":")[0]

    @username.setter
    def username(self, username):
        password = self.password
        self.userinfo = "%s:%s" % (username, password) if password else username

    @property
    def password(self):
        return self.userinfo.partition(":")[2]

    @password.setter
    def password(self, password):
        self.userinfo = "%s:%s" % (self.username, password)


def decodeurl(url):
    """(scheme, host with port, path, user, password, parameters)."""
    uri = URI(url)
    return uri.scheme, uri.hostport, uri.path or "/", uri.username, uri.password, uri.params


def decodemirrorurl(url):
    """The same of a mirror's pattern, whose parts may be regular expressions."""
    match = re.match(r"(?P<type>[^:]*)://((?P<user>[^/;]+)@)?(?P<location>[^;]+)(;(?P<parameters>.*))?", url)
    if not match:
        raise MalformedUrl(url)
    scheme, location, user, password = match["type"], match["location"], match["user"] or "", ""
    if scheme.lower() == "file":
        host, path, user = "", (user + "@" if user else "") + location, ""
    else:
        host, slash, rest = location.partition("/")
        path = slash + rest if slash else "/"
    if user:
        user, _, password = user.partition(":")
    parameters = _pairs(match["parameters"] or "", ";")
    for name, value in parameters.items():
        if value is None:
            raise MalformedUrl(url, "The URL: '%s' is invalid: parameter %s does not specify a value (missing '=')" % (url, name))
    return scheme, host, urllib.parse.unquote(path), user, password, parameters


def encodeurl(decoded):
    """The URL of what `decodeurl` gave."""
    scheme, host, path, user, password, parameters = decoded
    if not scheme:
        raise MissingParameterError("type", "encoded from the data %s" % str(decoded))
    uri = URI()
    uri.scheme = scheme
    if scheme != "file":
        if user:
            uri.username = user
            if password:
                uri.password = password
        if host:
            uri.hostname = host
    if path:
        uri.path = re.sub("/+", "/", path)
        if scheme == "file":
            uri.relative = False
    if parameters:
        uri.params = parameters
    return str(uri)


def mirror_from_string(data):
    """Pairs of pattern and replacement."""
    words = (data or "").replace("\\n", " ").split()
    if len(words) % 2:
        import bb

        bb.warn("Invalid mirror data %s, should have paired members." % data)
    return list(zip(words[::2], words[1::2]))
