"""Finding and reading configuration files."""

import os

import bb


def findConfigFile(configfile, data):
    """The path of `conf/<configfile>` along BBPATH and above this directory."""
    places = [place for place in (data.getVar("BBPATH") or "").split(":") if place]
    here = os.getcwd()
    while here not in places:
        places.append(here)
        if here == "/":
            break
        here = os.path.dirname(here)
    for place in places:
        path = os.path.join(place, "conf", configfile)
        if os.path.exists(path):
            return path
    return None


def parse_config_file(fn, data, include=True):
    """Reads a configuration file into a datastore."""
    bb.parse.ConfHandler.include("", fn, 0, data, "")
    return data
