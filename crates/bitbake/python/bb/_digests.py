"""Digests of files, in hexadecimal."""

import hashlib
import zipfile


def _file(name, path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, name).hexdigest() if hasattr(hashlib, "file_digest") else _by_blocks(name, data)


def _by_blocks(name, data):
    digest = hashlib.new(name)
    while block := data.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def md5_file(filename):
    return _file("md5", filename)


def sha1_file(filename):
    return _file("sha1", filename)


def sha256_file(filename):
    return _file("sha256", filename)


def sha384_file(filename):
    return _file("sha384", filename)


def sha512_file(filename):
    return _file("sha512", filename)


def goh1_file(filename):
    """The `h1` digest of Go modules: of the sorted list of members and their SHA-256."""
    lines = None
    if zipfile.is_zipfile(filename):
        try:
            with zipfile.ZipFile(filename) as archive:
                lines = [
                    "%s  %s\n" % (hashlib.sha256(archive.read(name)).hexdigest(), name) for name in sorted(archive.namelist())
                ]
        except zipfile.BadZipFile:
            pass
    if lines is None:
        lines = ["%s  go.mod\n" % sha256_file(filename)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
