"""Files and directories."""

import contextlib
import errno
import fcntl
import glob
import os
import random
import shutil
import stat
import string
import subprocess
import tempfile
import time

import bb
from bb._digests import goh1_file, md5_file, sha1_file, sha256_file, sha384_file, sha512_file  # noqa: F401


def mkdirhier(directory):
    """Makes a directory and those above it; one that is there already is fine."""
    if "${" in str(directory):
        bb.fatal("Directory name {} contains unexpanded bitbake variable. This may cause build failures.".format(directory))
    os.makedirs(directory, exist_ok=True)


def _precious(path):
    """Whether a path is one that nobody means to remove with everything in it."""
    path = os.path.abspath(path)
    home = os.environ.get("HOME")
    parent, name = os.path.split(path)
    return path in ("/", "//", "/home") or parent == "/home" and name != "" or bool(home) and path == os.path.abspath(home)


def remove(path, recurse=False, ionice=False):
    """Removes what a pattern matches, like `rm -f`, or like `rm -rf`."""
    if not path:
        return
    names = glob.glob(path)
    if recurse:
        for name in names:
            if _precious(name):
                raise Exception('bb.utils.remove: refusing to delete "%s"' % name)
        if names:
            subprocess.check_call((["ionice", "-c", "3"] if ionice else []) + ["rm", "-rf", "--"] + names)
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def prunedir(topdir, ionice=False):
    if _precious(topdir):
        raise Exception('bb.utils.prunedir: refusing to delete "%s"' % topdir)
    remove(topdir, recurse=True, ionice=ionice)


def rename(src, dst):
    """Renames, also from one file system to another."""
    try:
        os.rename(src, dst)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(src, dst)


def _times(path, newmtime, sstat):
    """Gives a file another modification time, or the times of a stat result; returns the modification time."""
    if newmtime is None:
        os.utime(path, (sstat.st_atime, sstat.st_mtime))
        return sstat.st_mtime
    os.utime(path, (newmtime, newmtime))
    return newmtime


def _copy(src, dest, sstat):
    """Copies a file or a link with owner and mode, replacing what was there."""
    if stat.S_ISLNK(sstat.st_mode):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(dest)
        os.symlink(os.readlink(src), dest)
        return
    if not stat.S_ISREG(sstat.st_mode):
        subprocess.check_call(["cp", "-af", "--", src, dest])
        return
    temporary = dest + "#new"
    shutil.copyfile(src, temporary)
    os.chown(temporary, sstat.st_uid, sstat.st_gid)
    os.chmod(temporary, stat.S_IMODE(sstat.st_mode))
    os.replace(temporary, dest)


def copyfile(src, dest, newmtime=None, sstat=None):
    """Copies a file with its owner, mode and times. Returns a true value, or False when it cannot."""
    try:
        sstat = sstat or os.lstat(src)
        _copy(src, dest, sstat)
        if stat.S_ISLNK(sstat.st_mode):
            return os.lstat(dest)
        return _times(dest, newmtime, sstat) or True
    except (OSError, subprocess.CalledProcessError) as error:
        bb.warn("copyfile: %s to %s: %s" % (src, dest, error))
        return False


def movefile(src, dest, newmtime=None, sstat=None):
    """Moves a file, also across file systems. Returns its modification time, or None when it cannot."""
    try:
        sstat = sstat or os.lstat(src)
        try:
            os.rename(src, dest)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(src, dest, sstat)
            os.unlink(src)
        if stat.S_ISLNK(sstat.st_mode):
            return os.lstat(dest)
        return _times(dest, newmtime, sstat)
    except (OSError, subprocess.CalledProcessError) as error:
        bb.warn("movefile: %s to %s: %s" % (src, dest, error))
        return None


def break_hardlinks(src, sstat=None):
    """Makes a file with several names one of its own."""
    try:
        sstat = sstat or os.lstat(src)
    except OSError as error:
        bb.warn("break_hardlinks: %s: %s" % (src, error))
        return False
    return True if sstat.st_nlink == 1 else copyfile(src, src, sstat=sstat)


def which(path, item, direction=0, history=False, executable=False):
    """The first file of a name in a colon-separated list of directories, or ''; with `history` also where it looked."""
    places = (path or "").split(":")
    if direction:
        places.reverse()
    looked = []
    for place in places:
        candidate = os.path.join(place, item)
        looked.append(candidate)
        found = os.path.isfile(candidate) and os.access(candidate, os.X_OK) if executable else os.path.exists(candidate)
        if found:
            candidate = os.path.abspath(candidate) if not os.path.isabs(candidate) else candidate
            return (candidate, looked) if history else candidate
    return ("", looked) if history else ""


def path_is_descendant(descendant, ancestor):
    """Whether a path lies below another, or is it, links and bind mounts seen through."""
    above = os.stat(ancestor)
    path = os.path.abspath(descendant).rstrip("/")
    while path:
        if os.path.samestat(os.stat(path), above):
            return True
        path = os.path.dirname(path).rstrip("/")
    return False


def is_path_on_nfs(path):
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return kind.strip() == "nfs"


def mkstemp(suffix=None, prefix=None, dir=None, text=False):
    """A temporary file whose name has more randomness than the library's."""
    entropy = "".join(random.choices(string.ascii_letters + string.digits, k=20))
    return tempfile.mkstemp(suffix=suffix, prefix=(prefix or tempfile.gettempprefix()) + entropy, dir=dir, text=text)


@contextlib.contextmanager
def umask(new_mask):
    before = os.umask(new_mask)
    try:
        yield
    finally:
        os.umask(before)


def lockfile(name, shared=False, retry=True, block=False):
    """Takes a lock on a file and returns the open file; None where `retry` is off and another holds it."""
    mkdirhier(os.path.dirname(name))
    if not os.access(os.path.dirname(name), os.W_OK):
        bb.fatal("Unable to acquire lock, directory of %s is not writable" % name)
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if not retry and not block:
        operation |= fcntl.LOCK_NB
    while True:
        held = open(name, "a+")
        try:
            fcntl.flock(held.fileno(), operation)
        except OSError as error:
            held.close()
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.ENOLCK) and not retry:
                return None
            time.sleep(0.1)
            continue
        # Another may have removed the file between the opening and the lock.
        try:
            if os.path.samestat(os.fstat(held.fileno()), os.stat(name)):
                return held
        except FileNotFoundError:
            pass
        held.close()


def unlockfile(lf):
    """Gives a lock back; the last holder removes the file."""
    try:
        fcntl.flock(lf.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(lf.name)
    except OSError:
        pass
    fcntl.flock(lf.fileno(), fcntl.LOCK_UN)
    lf.close()


@contextlib.contextmanager
def fileslocked(files, *args, **kwargs):
    held = [lockfile(name, *args, **kwargs) for name in files or ()]
    try:
        yield
    finally:
        for lock in held:
            if lock:
                unlockfile(lock)
