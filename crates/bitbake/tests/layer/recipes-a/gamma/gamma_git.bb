LICENSE = "MIT"
inherit exporting
SRC = "${@d.getVar('WEAK') if bb.utils.contains_any('FEATURES', 'red blue', True, False, d) else 'no'}"
do_install() {
	own_install ${SRC}
}
