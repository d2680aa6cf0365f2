cc -Wall -Werror -Iout/include tests/shared_test.c out/libshared.a -o "$TMPDIR/shared-test"
"$TMPDIR/shared-test"
