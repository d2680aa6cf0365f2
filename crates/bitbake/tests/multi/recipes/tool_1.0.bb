do_build[recrdeptask] = "do_install"
