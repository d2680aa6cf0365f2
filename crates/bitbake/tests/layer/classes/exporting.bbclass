exporting_do_install() {
	install_it ${PN}
}
python exporting_do_check() {
    d.getVar("CHECKED")
}
addtask install after do_compile before do_build
addtask check after do_install before do_build
EXPORT_FUNCTIONS do_install do_check
