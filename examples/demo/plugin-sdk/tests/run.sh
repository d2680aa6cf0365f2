cc -Wall -Werror -Iout/include -I../core/out/include tests/plugin_test.c \
  out/libplugin.a ../core/out/libcore.a ../shared/out/libshared.a -o "$TMPDIR/plugin-test"
"$TMPDIR/plugin-test"
