import bb.parse


def double(text):
    return single(text) * 2


@bb.parse.vardeps("LATE")
def single(text):
    return text


def kinds(d):
    return d.getVar("KIND")
