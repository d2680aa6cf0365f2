cc -Wall -Werror -Iout/include tests/ui_test.c out/libui.a ../shared/out/libshared.a -o "$TMPDIR/ui-test"
"$TMPDIR/ui-test"
