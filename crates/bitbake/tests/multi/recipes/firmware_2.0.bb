DEPENDS = "lib virtual/thing"
do_install[mcdepends] = "mc:one:two:loader:do_install"
addtask report
do_report() {
	tell
}
