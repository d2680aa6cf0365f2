WHAT = "library ${FROM_HANDLER}"
BBCLASSEXTEND = "host"
do_fetch[file-checksums] = "${FILE_DIRNAME}/files:True"
