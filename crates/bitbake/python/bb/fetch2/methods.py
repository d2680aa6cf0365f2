"""Kinds of sources, as far as parsing needs them: names, local paths and revisions."""

import os
import re
import subprocess

import bb
from bb.fetch2.errors import FetchError, NetworkAccess, ParameterError

_GIT_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?$")
_SSH = re.compile(r"ssh://[^/;]+/")


class FetchMethod:
    """What all kinds share: a file of the downloads directory, named after the URL."""

    types = ()

    def supports(self, ud, d):
        return ud.type in self.types

    def urldata_init(self, ud, d):
        ud.basename = ud.parm.get("downloadfilename") or os.path.basename(ud.path)
        ud.localfile = ud.basename

    def localpath(self, ud, d):
        return os.path.join(d.getVar("DL_DIR"), ud.localfile)

    def supports_srcrev(self):
        return False

    def supports_checksum(self, ud):
        return not os.path.isdir(ud.localpath)

    def recommends_checksum(self, ud):
        return False

    def implicit_urldata(self, ud, d):
        return []

    def latest_revision(self, ud, d, name):
        raise ParameterError("The fetcher for this URL cannot tell its latest revision", ud.url)

    def sortable_revision(self, ud, d, name):
        """Whether a number must make the revision sortable, and the revision."""
        return True, str(ud.revision)


class Local(FetchMethod):
    """Files beside the recipe."""

    types = ("file",)

    def urldata_init(self, ud, d):
        ud.basename = os.path.basename(ud.path)
        ud.basepath = ud.path
        ud.needdonestamp = False
        if "*" in ud.path:
            raise ParameterError(
                "file:// urls using globbing are no longer supported. Place the files in a directory and reference that instead.",
                ud.url,
            )

    def localfile_searchpaths(self, ud, d):
        """Where the file is looked for; the last is where it is, if it is anywhere."""
        if ud.path.startswith("/"):
            return [ud.path]
        filespath = d.getVar("FILESPATH")
        return bb.utils.which(filespath, ud.path, history=True)[1] if filespath else []

    def localpath(self, ud, d):
        return self.localfile_searchpaths(ud, d)[-1]


class Wget(FetchMethod):
    types = ("http", "https", "ftp", "ftps")

    def recommends_checksum(self, ud):
        return True


class _Revisions(FetchMethod):
    """Sources with revisions."""

    def supports_srcrev(self):
        return True

    def supports_checksum(self, ud):
        return False


class _Numbered(_Revisions):
    """Sources whose revisions sort by themselves."""

    def urldata_init(self, ud, d):
        ud.localfile = "%s_%s" % (ud.host, ud.path.strip("/").replace("/", "."))
        ud.setup_revisions(d)

    def sortable_revision(self, ud, d, name):
        return False, ud.revision


class Svn(_Numbered):
    types = ("svn",)


class Perforce(_Numbered):
    types = ("p4",)


class ClearCase(_Numbered):
    types = ("ccrc",)


class Hg(_Revisions):
    types = ("hg",)

    def urldata_init(self, ud, d):
        ud.localfile = "%s_%s" % (ud.host, ud.path.strip("/").replace("/", "."))
        ud.setup_revisions(d)


class Git(_Revisions):
    types = ("git",)
    protocols = ("git", "file", "ssh", "http", "https", "rsync")

    def urldata_init(self, ud, d):
        parm = ud.parm
        ud.proto = parm.get("protocol") or ("git" if ud.host else "file")
        if ud.host == "github.com" and ud.proto == "git":
            ud.proto = "https"
            bb.warn("URL: %s uses git protocol which github no longer supports. Change to ;protocol=https in the url." % ud.url)
        if ud.proto not in self.protocols:
            raise ParameterError("Invalid protocol type: '%s'" % ud.proto, ud.url)
        ud.usehead = parm.get("usehead", "0") == "1"
        if ud.usehead and ud.proto != "file":
            raise ParameterError("The usehead option is only for use with local ('protocol=file') git repositories", ud.url)
        ud.bareclone = parm.get("bareclone", "0") == "1"
        ud.nocheckout = ud.bareclone or parm.get("nocheckout", "0") == "1"
        ud.rebaseable = parm.get("rebaseable", "0") == "1"
        ud.nobranch = ud.usehead or parm.get("nobranch", "0") == "1"
        ud.branch = parm.get("branch", "")
        if not ud.branch and not ud.nobranch:
            raise ParameterError("The url does not set any branch parameter or set nobranch=1.", ud.url)
        ud.unresolvedrev = "HEAD" if ud.usehead else ud.branch
        ud.setup_revisions(d)
        if not _GIT_HASH.match(ud.revision or ""):
            if ud.revision:
                ud.unresolvedrev = ud.revision
            ud.revision = self.latest_revision(ud, d, ud.name)
        name = ud.host.replace(":", ".") + re.sub("[/*]", ".", re.sub("[ ()]", "_", ud.path))
        name = name[1:] if name.startswith(".") else name
        if ud.rebaseable:
            name += "_" + ud.revision
        downloads = d.getVar("DL_DIR")
        ud.clonedir = os.path.join(d.getVar("GITDIR") or downloads + "/git2", name)
        ud.localfile = ud.clonedir
        ud.mirrortarballs = ["git2_%s.tar.gz" % name]
        ud.fullmirror = os.path.join(downloads, ud.mirrortarballs[0])

    def localpath(self, ud, d):
        return ud.clonedir

    def address(self, ud):
        user = ud.user + (":" + ud.pswd if ud.pswd else "") + "@" if ud.user else ""
        return "%s://%s%s%s" % (ud.proto, user, ud.host, ud.path)

    def latest_revision(self, ud, d, name):
        """The revision that a branch or tag names, asked of the repository."""
        known = bb.fetch2.revisions
        key = "git:%s:%s%s" % (ud.host, ud.path.replace("/", "."), ud.unresolvedrev)
        if key not in known:
            known[key] = self._ask(ud, d)
        return known[key]

    def _ask(self, ud, d):
        address = self.address(ud)
        command = ["git", "ls-remote", address]
        if d.getVar("BB_NO_NETWORK") == "1" and ud.proto != "file":
            raise NetworkAccess(ud.url, " ".join(command))
        environment = dict(os.environ, **bb.fetch2.get_fetcher_environment(d))
        try:
            listing = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        except subprocess.CalledProcessError as error:
            raise FetchError("git ls-remote failed: %s" % error.stderr.strip(), ud.url) from error
        refs = dict(reversed(line.split("\t", 1)) for line in listing.splitlines() if "\t" in line)
        wanted = ud.unresolvedrev
        for name in (wanted, "refs/tags/%s^{}" % wanted, "refs/heads/" + wanted, "refs/tags/" + wanted):
            if name in refs:
                return refs[name]
        raise FetchError("Unable to resolve '%s' in upstream git repository in git ls-remote output for %s" % (wanted, address), ud.url)


class GitSM(Git):
    types = ("gitsm",)


class GitANNEX(Git):
    types = ("gitannex",)


class GoModGit(FetchMethod):
    types = ("gomodgit",)


class SSH(FetchMethod):
    def supports(self, ud, d):
        return _SSH.match(ud.url) is not None

    def supports_checksum(self, ud):
        return False


class SFTP(FetchMethod):
    types = ("sftp",)


class S3(FetchMethod):
    types = ("s3",)


class Repo(FetchMethod):
    types = ("repo",)


class Npm(FetchMethod):
    types = ("npm",)

    def supports(self, ud, d):
        # BitBake has switched them off.
        if super().supports(ud, d):
            raise bb.parse.SkipRecipe(
                "The %s fetcher has been disabled due to security issues and there is no maintainer to address them" % ud.type
            )
        return False


class NpmShrinkWrap(Npm):
    types = ("npmsw",)


class Az(Wget):
    types = ("az",)


class Crate(Wget):
    """crate://host/name/version is the file name-version.crate."""

    types = ("crate",)

    def urldata_init(self, ud, d):
        parts = ud.path.strip("/").split("/")
        if len(parts) < 2:
            raise ParameterError("Invalid URL: Must be crate://HOST/NAME/VERSION", ud.url)
        name, version = parts[-2:]
        ud.parm.setdefault("name", "%s-%s" % (name, version))
        ud.parm["downloadfilename"] = ud.parm.get("downloadfilename") or "%s-%s.crate" % (name, version)
        super().urldata_init(ud, d)


class GCP(FetchMethod):
    types = ("gs",)


class GoMod(Wget):
    types = ("gomod",)


# The first that supports a URL has it.
METHODS = [
    Local(), Wget(), Svn(), Git(), GitSM(), GitANNEX(), SSH(), SFTP(), S3(), Perforce(), Hg(), Repo(), ClearCase(), Npm(),
    NpmShrinkWrap(), Az(), Crate(), GCP(), GoMod(), GoModGit(),
]
