CLASSOVERRIDE = "class-host"
KIND = "class-host"
python host_virtclass_handler () {
    if "host" not in (d.getVar("BBCLASSEXTEND") or "").split():
        return
    pn = d.getVar("PN")
    if not pn.endswith("-host"):
        return
    bpn = d.getVar("BPN")
    d.setVar("MAPPED", " ".join(dep + "-host" for dep in (d.getVar("DEPENDS") or "").split()))
    d.renameVar("OLD_NAME", "NEW_NAME")
    d.setVarFilter("DEPENDS", "suffix(val, '-host')")
}
addhandler host_virtclass_handler
host_virtclass_handler[eventmask] = "bb.event.RecipePreFinalise"
