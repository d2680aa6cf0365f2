addtask fetch
do_fetch() {
	fetch ${WHAT}
}
addtask compile after do_fetch
do_compile[deptask] = "do_install"
do_compile() {
	make ${MACHINE} ${WHAT}
}
addtask install after do_compile
do_install() {
	put
}
addtask install_setscene
do_install_setscene() {
	get
}
addtask package after do_install
do_package[rdeptask] = "do_package"
do_package() {
	pack
}
addtask build after do_package
do_build[noexec] = "1"
do_build() {
	:
}
WHAT ?= "${PN}"
addhandler join_configurations
join_configurations[eventmask] = "bb.event.MultiConfigParsed"
python join_configurations () {
    e.mcdata[''].setVar("SEEN", " ".join("%s=%s" % (name or 'default', e.mcdata[name].getVar("MACHINE")) for name in e.mcdata))
    for name in e.mcdata:
        e.mcdata[name].setVar("FROM_HANDLER", e.mcdata[''].getVar("MACHINE") + name)
}
