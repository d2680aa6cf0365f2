DEPENDS = "nothing-has-this"
addtask report
do_report() {
	tell
}
