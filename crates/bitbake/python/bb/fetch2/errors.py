"""What can be wrong with a source."""


class BBFetchException(Exception):
    """Any of them; `msg` says it."""

    def __init__(self, message):
        super().__init__(message)
        self.msg = message

    def __str__(self):
        return self.msg


class _Named(BBFetchException):
    """An error about a URL, with the arguments that made it."""

    def __init__(self, message, url, args):
        super().__init__(message)
        self.url = url
        self.args = args


class UntrustedUrl(_Named):
    def __init__(self, url, message=""):
        super().__init__(message or "The URL: '%s' is not trusted and cannot be used" % url, url, (url,))


class MalformedUrl(_Named):
    def __init__(self, url, message=""):
        super().__init__(message or "The URL: '%s' is invalid and cannot be interpreted" % url, url, (url,))


class FetchError(_Named):
    def __init__(self, message, url=None):
        text = "Fetcher failure for URL: '%s'. %s" % (url, message) if url else "Fetcher failure: %s" % message
        super().__init__(text, url, (message, url))


class ChecksumError(FetchError):
    def __init__(self, message, url=None, checksum=None):
        super().__init__(message, url)
        self.checksum = checksum


class NoChecksumError(FetchError):
    pass


class UnpackError(_Named):
    def __init__(self, message, url):
        super().__init__("Unpack failure for URL: '%s'. %s" % (url, message), url, (message, url))


class NoMethodError(_Named):
    def __init__(self, url):
        super().__init__("Could not find a fetcher which supports the URL: '%s'" % url, url, (url,))


class MissingParameterError(_Named):
    def __init__(self, missing, url):
        super().__init__("URL: '%s' is missing the required parameter '%s'" % (url, missing), url, (missing, url))
        self.missing = missing


class ParameterError(_Named):
    def __init__(self, message, url):
        super().__init__("URL: '%s' has invalid parameters. %s" % (url, message), url, (message, url))


class NetworkAccess(_Named):
    def __init__(self, url, cmd):
        text = "Network access disabled through BB_NO_NETWORK but access requested with command %s (for url %s)" % (cmd, url)
        super().__init__(text, url, (url, cmd))
        self.cmd = cmd


class NonLocalMethod(Exception):
    """A source that is not a local file, where only those are asked for."""
