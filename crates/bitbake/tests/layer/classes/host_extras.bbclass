EXTRAS = "only for the host"
do_special[noexec] = "1"
