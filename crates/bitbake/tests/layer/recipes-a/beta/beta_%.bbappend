FEATURES:append = " appended"
do_fetch:append() {
	appended_command
}
