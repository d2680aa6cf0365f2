"""The classes that layers extend to say how signatures are made.

BuildNet makes signatures itself, outside Python; a layer's module defines its generator here all the same, for its functions.
"""

import logging

import bb

logger = logging.getLogger("BitBake.SigGen")

find_siginfo = None
find_siginfo_version = 2


class SignatureGenerator:
    """What tasks share: hashes by task."""

    name = "noop"

    def __init__(self, data):
        self.basehash = {}
        self.taskhash = {}
        self.unihash = {}
        self.runtaskdeps = {}
        self.file_checksum_values = {}
        self.taints = {}

    def get_cached_unihash(self, tid):
        return None

    def get_unihash(self, tid):
        return self.get_cached_unihash(tid) or self.taskhash[tid]

    def exit(self):
        pass


def init(d):
    """The generator as metadata sees it: signatures themselves are made elsewhere."""
    return SignatureGenerator(d)


class SignatureGeneratorBasic(SignatureGenerator):
    name = "basic"

    def __init__(self, data):
        super().__init__(data)
        self.basehash_ignore_vars = set((data.getVar("BB_BASEHASH_IGNORE_VARS") or "").split())
        self.init_rundepcheck(data)

    def init_rundepcheck(self, data):
        pass

    def rundep_check(self, fn, recipename, task, dep, depname, dataCaches):
        return True


class SignatureGeneratorBasicHash(SignatureGeneratorBasic):
    name = "basichash"


class SignatureGeneratorUniHashMixIn:
    """Hashes that a server may replace by an equivalent one."""


class SignatureGeneratorTestEquivHash(SignatureGeneratorUniHashMixIn, SignatureGeneratorBasicHash):
    name = "TestEquivHash"


def dump_this_task(outfile, d):
    """Writes the signature of the running task."""
    from buildnet_bridge import call

    call("dumpsig", d._handle, "do_" + d.getVar("BB_CURRENTTASK"), outfile)


def compare_sigfiles(a, b, recursecb=None, color=False, collapsed=False):
    """The differences of two signature files, one text per line."""
    from buildnet_bridge import call

    return call("comparesigs", a, b)


logger.addHandler(logging.NullHandler())

