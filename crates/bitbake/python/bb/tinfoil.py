"""The interface of programs that drive BitBake from outside. BuildNet has its own commands for that."""



class Tinfoil:
    def __init__(self, *args, **kwargs):
        raise NotImplementedError("bb.tinfoil drives BitBake itself; under BuildNet use its own commands")


class TinfoilException(Exception):
    pass


class TinfoilUIException(TinfoilException):
    pass



