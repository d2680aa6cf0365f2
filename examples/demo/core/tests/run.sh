cc -Wall -Werror -Iout/include tests/core_test.c out/libcore.a ../shared/out/libshared.a -o "$TMPDIR/core-test"
"$TMPDIR/core-test"
