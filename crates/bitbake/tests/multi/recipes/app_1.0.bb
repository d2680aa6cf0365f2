DEPENDS = "lib virtual/thing"
RDEPENDS:app = "tool"
WHAT = "app ${SEEN}"
addtask image after do_package before do_build
do_image[mcdepends] = "mc::one:firmware:do_package mc::two:loader:do_install"
do_image[depends] = "lib-host:do_install"
do_image() {
	glue
}
addtask report
do_report() {
	tell
}
