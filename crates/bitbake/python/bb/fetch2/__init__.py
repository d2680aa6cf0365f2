"""Sources of recipes, as far as parsing needs them: URLs, names, local paths, revisions and checksums.

Fetching itself is done elsewhere.
"""

import logging
import os
import re

import bb
from bb.fetch2.errors import *  # noqa: F401,F403
from bb.fetch2.errors import FetchError, NoMethodError, NonLocalMethod, ParameterError
from bb.fetch2.methods import METHODS as methods
from bb.fetch2.methods import FetchMethod, Local  # noqa: F401
from bb.fetch2.uri import URI, decodemirrorurl, decodeurl, encodeurl, mirror_from_string  # noqa: F401

__version__ = "2"

logger = logging.getLogger("BitBake.Fetcher")

CHECKSUM_LIST = ["goh1", "md5", "sha256", "sha1", "sha384", "sha512"]
SHOWN_CHECKSUM_LIST = ["sha256"]
# Kinds of URL whose checksums stand in flags of SRC_URI.
_CHECKED = ("http", "https", "ftp", "ftps", "sftp", "s3", "az", "crate", "gs", "gomod", "npm")

FETCH_EXPORT_VARS = (
    "HOME PATH HTTP_PROXY http_proxy HTTPS_PROXY https_proxy FTP_PROXY ftp_proxy FTPS_PROXY ftps_proxy NO_PROXY no_proxy "
    "ALL_PROXY all_proxy GIT_CONFIG_GLOBAL GIT_PROXY_COMMAND GIT_SSH GIT_SSH_COMMAND GIT_SSL_CAINFO GIT_SMART_HTTP "
    "SSH_AUTH_SOCK SSH_AGENT_PID SOCKS5_USER SOCKS5_PASSWD DBUS_SESSION_BUS_ADDRESS P4CONFIG SSL_CERT_FILE "
    "NODE_EXTRA_CA_CERTS AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_ROLE_ARN "
    "AWS_WEB_IDENTITY_TOKEN_FILE AWS_DEFAULT_REGION AWS_SESSION_TOKEN GIT_CACHE_PATH REMOTE_CONTAINERS_IPC GITHUB_TOKEN "
    "SSL_CERT_DIR"
).split()

# Revisions that repositories were asked for, by place.
revisions = {}


class FetchData:
    """What is known of one URL."""

    def __init__(self, url, d, localonly=False, revision=None):
        self.url = url
        self.type, self.host, self.path, self.user, self.pswd, self.parm = decodeurl(d.expand(url))
        self.user = self.user or self.parm.get("user", "")
        self.pswd = self.pswd or self.parm.get("pswd", "")
        self._d = d
        self.localpath = self.basename = self.basepath = None
        self.revision = revision
        self.needdonestamp = True
        self.localfile = ""
        self.mirrortarballs = []
        self.setup = False
        self.ignore_checksums = False
        self.method = next((method for method in methods if method.supports(self, d)), None)
        if self.method is None:
            raise NoMethodError(url)
        if localonly and not isinstance(self.method, Local):
            raise NonLocalMethod()
        self.name = self.parm.get("name", "default")
        if "," in self.name:
            raise ParameterError("The fetcher no longer supports multiple name parameters in a single url", url)
        if self.parm.get("proto") and "protocol" not in self.parm:
            logger.warning('Consider updating %s recipe to use "protocol" not "proto" in SRC_URI.', d.getVar("PN"))
            self.parm["protocol"] = self.parm["proto"]
        self.method.urldata_init(self, d)
        if "localpath" in self.parm:
            self.localpath = self.parm["localpath"]
            self.basename = os.path.basename(self.localpath)
        elif self.localfile:
            self.localpath = self.method.localpath(self, d)

    def __getattr__(self, name):
        # Most of those who read a recipe want neither checksums nor stamps: these are looked up when they are asked for.
        kind, _, what = name.rpartition("_")
        if what in ("name", "expected") and kind in CHECKSUM_LIST:
            self._expect(kind, self._d)
        elif name in ("donestamp", "lockfile"):
            self.donestamp = self.lockfile = None
            if self.needdonestamp:
                self._stamps(self._d)
        else:
            raise AttributeError(name)
        return getattr(self, name)

    def _expect(self, kind, d):
        """Notes the checksum of one kind that the recipe gives."""
        plain = kind + "sum"
        name = "%s.%s" % (self.parm["name"], plain) if "name" in self.parm else plain
        expected = None
        if name in self.parm:
            expected = self.parm[name]
        elif plain in self.parm:
            name, expected = plain, self.parm[plain]
        elif self.type in _CHECKED:
            expected = d.getVarFlag("SRC_URI", name)
        setattr(self, kind + "_name", name)
        setattr(self, kind + "_expected", expected)

    def _stamps(self, d):
        downloads = d.getVar("DL_DIR")
        if self.localpath and self.localpath.startswith(downloads):
            base = self.localpath
        else:
            name = os.path.basename(self.localpath) if self.localpath else self.basepath or self.basename
            if not name:
                bb.fatal("Can't determine lock path for url %s" % self.url)
            base = os.path.join(downloads, name)
        self.donestamp = base + ".done"
        self.lockfile = base + ".lock"

    def setup_revisions(self, d):
        if self.revision is None:
            self.revision = srcrev_internal_helper(self, d, self.name)

    def setup_localpath(self, d):
        if not self.localpath:
            self.localpath = self.method.localpath(self, d)


class Fetch:
    """The sources of a recipe, or a list of URLs."""

    def __init__(self, urls, d, cache=True, localonly=False, connection_cache=None):
        if localonly and cache:
            raise Exception("bb.fetch2.Fetch: cache and localonly exclude each other")
        self.urls = urls or d.getVar("SRC_URI").split()
        self.d = d
        self.ud = {}
        # BitBake keeps what it knows of URLs as long as the datastore lives: those that SRC_URI no longer names are still counted,
        # with the revisions they had.
        known = list(d.getVar("__BBFETCHED", False) or []) if cache else []
        for url, revision in known:
            self.ud[url] = FetchData(url, d, revision=revision)
        for url in self.urls:
            if url not in self.ud:
                try:
                    self.ud[url] = FetchData(url, d, localonly)
                except NonLocalMethod:
                    self.ud[url] = None
        if cache and len(self.ud) > len(known):
            d.setVar("__BBFETCHED", [(url, ud.revision) for url, ud in self.ud.items()])

    def localpath(self, url):
        if url not in self.urls:
            self.ud[url] = FetchData(url, self.d)
        self.ud[url].setup_localpath(self.d)
        return self.ud[url].localpath

    def localpaths(self):
        return [self.localpath(url) for url in self.urls]

    def expanded_urldata(self, urls=None):
        found = []
        for url in urls or self.urls:
            found.append(self.ud[url])
            found += self.ud[url].method.implicit_urldata(self.ud[url], self.d)
        return found


def get_fetcher_environment(d):
    """Variables that a fetching program needs, from the metadata or else from the user's environment."""
    original = d.getVar("BB_ORIGENV")
    values = {}
    for name in FETCH_EXPORT_VARS:
        value = d.getVar(name)
        if not value and hasattr(original, "getVar"):
            value = original.getVar(name)
        if value:
            values[name] = value
    return values


def get_autorev(d):
    """Stands for the latest revision; a recipe that says so is parsed anew each time."""
    if d.getVar("BB_SRCREV_POLICY") != "cache":
        d.setVar("BB_DONT_CACHE", "1")
    d.setVar("__BBAUTOREV_SEEN", True)
    return "AUTOINC"


def srcrev_internal_helper(ud, d, name):
    """The revision of a source: from SRCREV, the URL, or, for AUTOINC, from its repository."""
    pn = d.getVar("PN")
    candidates = []
    if name != "":
        candidates += ["SRCREV_%s:pn-%s" % (name, pn)] if pn else []
        candidates.append("SRCREV_%s" % name)
    candidates += ["SRCREV:pn-%s" % pn] if pn else []
    candidates.append("SRCREV")
    revision = None
    for candidate in candidates:
        revision = d.getVar(candidate)
        if revision and revision != "INVALID":
            break
    unset = not revision or revision == "INVALID"
    if "rev" in ud.parm:
        if not unset and revision != ud.parm["rev"]:
            raise FetchError("Conflicting revisions (%s from SRCREV and %s from the url) found, please specify one valid value"
                             % (revision, ud.parm["rev"]))
        return ud.parm["rev"]
    if unset:
        if "tag" in ud.parm:
            return ud.parm["tag"]
        raise FetchError("Please set a valid SRCREV for url %s (possible key names are %s, or use a ;rev=X URL parameter)"
                         % (str(candidates), ud.url), ud.url)
    if revision == "AUTOINC":
        d.setVar("__BBAUTOREV_ACTED_UPON", True)
        return ud.method.latest_revision(ud, d, name)
    return revision


def _get_srcrev(d, method_name="sortable_revision"):
    """(text for PV, all revisions)."""
    d.setVar("__BBSRCREV_SEEN", "1")
    if d.getVar("__BBINSRCREV"):
        raise FetchError("There are recursive references in fetcher variables, likely through SRC_URI")
    d.setVar("__BBINSRCREV", True)
    try:
        return _combined(Fetch(d.getVar("SRC_URI").split(), d), d, method_name)
    finally:
        d.delVar("__BBINSRCREV")


def _combined(fetcher, d, method_name):
    sources = [(url, ud) for url, ud in fetcher.ud.items() if ud.method.supports_srcrev()]
    revs = []
    short = {}
    increments = False
    for _, ud in sources:
        autoinc, rev = getattr(ud.method, method_name)(ud, d, ud.name)
        revs.append(rev)
        short[ud.name] = rev[:10]
        increments = increments or autoinc
    if not sources:
        return "", revs
    if len(sources) == 1:
        text = short[sources[0][1].name]
    else:
        text = d.getVar("SRCREV_FORMAT")
        if not text:
            raise FetchError("The SRCREV_FORMAT variable must be set when multiple SCMs are used.\nThe SCMs are:\n%s"
                             % "\n".join(url for url, _ in sources))
        # Longest names first: one may begin like another.
        names = "|".join(re.escape(name) for name in sorted(short, key=len, reverse=True))
        text = re.sub(names, lambda match: short[match.group()], text)
    return ("AUTOINC+" if increments else "") + text, revs


def get_hashvalue(d, method_name="sortable_revision"):
    return " ".join(_get_srcrev(d, method_name)[1])


def get_pkgv_string(d, method_name="sortable_revision"):
    return _get_srcrev(d, method_name)[0]


def get_srcrev(d, method_name="sortable_revision"):
    text = get_pkgv_string(d, method_name)
    if not text:
        raise FetchError("SRCREV was used yet no valid SCM was found in SRC_URI")
    return text


def localpath(url, d):
    return Fetch([url], d).localpath(url)


def get_checksum_file_list(d):
    """`path:exists` for every place where a local source was looked for."""
    entries = []
    for ud in Fetch([], d, cache=False, localonly=True).ud.values():
        if ud is None:
            continue
        places = ud.method.localfile_searchpaths(ud, d)
        present = [os.path.exists(place) for place in places]
        entries += ["%s:%s" % (place, exists) for place, exists in zip(places, present)]
        if not any(present):
            bb.fatal("Unable to get checksum for %s SRC_URI entry %s: file could not be found\nThe following paths were searched:\n%s"
                     % (d.getVar("PN"), os.path.basename(ud.path), "\n".join(places)))
    return " ".join(entries)
