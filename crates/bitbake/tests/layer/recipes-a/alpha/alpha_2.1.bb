SUMMARY = "One of everything"
LICENSE = "MIT"
DEPENDS = "beta"
DEPENDS:class-host = "beta-host"
inherit exporting postponed
inherit_defer ${@'host_extras' if d.getVar('KIND') == 'class-host' else ''}
require alpha.inc
LAST_WORD = "the end"
BBCLASSEXTEND = "host"
RDEPENDS:${PN} = "beta (>= 1.0) gamma"
RRECOMMENDS:${PN}-doc = "reader"
RPROVIDES:${PN} += "alphabet"
FILES:${PN}:append = " /usr"
VALUE = "base"
VALUE:plain = "for plain"
VALUE:class-host = "for host"
VALUE:board:plain = "for both"
VALUE:append = "!"
VALUE:prepend:board = "?"
OLD_NAME = "renamed"
OLD_NAME:append = " with its end"
SPLIT = "a \
  b\
c"
QUOTED = 'single "double" inside'
do_compile[postfuncs] += "after_compile"
python after_compile() {
    d.getVarFlag("QUOTED", "doc")
}
do_install:append() {
	extra_step ${VALUE} $(subshell_step)
}
do_install:prepend:class-host() {
	only_on_host
}
python do_special() {
    import os
    os.getcwd()
    for name in d.getVar("PACKAGES").split():
        d.setVar("X:" + name, tl.things.kinds(d))
    unknown_function(d.expand("${VALUE} ${@tool(d)}"))
}
addtask special after do_fetch before do_install
deltask check
export EXPORTED_HERE
EXPORTED_HERE = "${@bb.utils.filter('FEATURES', 'green wood', d)} ${@tl.things.double('x')}"
RESULT_OF_PYTHON = "${@[x for x in ('a', 'b')][1]}${@tool(d) or 'none'} ${@KIND}"
TOOLS[default] = "hammer"
BROKEN = "${@d.getVar('VALUE} stays"
python () {
    d.setVar("FROM_RECIPE", d.getVar("VALUE") + tl.things.double("y"))
    d.delVar("UNSET_LATER")
}
