//! A C code base of over a hundred files, split into packages: zstd and two versions of Lua, whose sources come with crates.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Place, fetched, those};

const MANIFEST: &str = "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n\
                        [dependencies]\nzstd-sys = \"=2.1.2\"\nlua-src = \"=551.1.0\"\n";

const CONFIGURATION: &str = r#"
packages:
  - name: zstd-common
    path: zstd/common
    build_cmd: &zstd |
      mkdir -p out
      for file in *.c; do cc -w -DZSTD_DISABLE_ASM=1 -DZSTD_LEGACY_SUPPORT=4 -c "$file" -o "out/${file%.c}.o"; done
      ar rcsD out/lib.a out/*.o
      rm out/*.o
    sources: &headers ["**/*", "//zstd/**/*.h"]
    output_dir: out
  - { name: zstd-compress, path: zstd/compress, dependencies: [zstd-common], build_cmd: *zstd, sources: *headers, output_dir: out }
  - { name: zstd-legacy, path: zstd/legacy, dependencies: [zstd-common], build_cmd: *zstd, sources: *headers, output_dir: out }
  - { name: zstd-decompress, path: zstd/decompress, dependencies: [zstd-common, zstd-legacy], build_cmd: *zstd, sources: *headers, output_dir: out }
  - { name: zstd-dict, path: zstd/dictBuilder, dependencies: [zstd-compress], build_cmd: *zstd, sources: *headers, output_dir: out }
  - name: lua53
    path: lua53
    build_cmd: &lua |
      mkdir -p out/include
      cp lua.h luaconf.h lualib.h lauxlib.h out/include/
      for file in *.c; do
        case "$file" in lua.c|luac.c) continue;; esac
        cc -w -DLUA_USE_POSIX -c "$file" -o "out/${file%.c}.o"
      done
      ar rcsD out/lib.a out/*.o
      rm out/*.o
    output_dir: out
  - { name: lua54, path: lua54, build_cmd: *lua, output_dir: out }
  - name: packer
    path: packer
    dependencies: [zstd-compress, zstd-decompress, zstd-dict, lua53, lua54]
    sources: ["**/*", "//zstd/*.h"]
    build_cmd: |
      mkdir -p out
      for lua in lua53 lua54; do
        cc -Wall -Werror -I../zstd -I../$lua/out/include main.c -o out/$lua-packer ../$lua/out/lib.a \
          ../zstd/dictBuilder/out/lib.a ../zstd/compress/out/lib.a ../zstd/decompress/out/lib.a ../zstd/legacy/out/lib.a \
          ../zstd/common/out/lib.a -lm
      done
    output_dir: out
    tasks:
      test:
        command: ./out/lua54-packer 'return string.rep("x", 10)'
        depends_on: [build]
tasks:
  build: { depends_on: ["^build"], toolchains: [cc, ar], timeout: 5m }
"#;

/// Runs a Lua script, packs its result with zstd, unpacks it again, and says how it went.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua.h"
#include "lualib.h"
#include "lauxlib.h"
#include "zstd.h"

int main(int argc, char **argv) {
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    if (argc != 2 || luaL_dostring(lua, argv[1])) return 1;
    size_t size;
    const char *text = lua_tolstring(lua, -1, &size);
    size_t bound = ZSTD_compressBound(size);
    void *packed = malloc(bound), *back = malloc(size + 1);
    size_t small = ZSTD_compress(packed, bound, text, size, 3);
    if (ZSTD_isError(small)) return 2;
    size_t again = ZSTD_decompress(back, size, packed, small);
    if (again != size || memcmp(back, text, size) != 0) return 3;
    printf("%s: %zu bytes, %s\n", LUA_RELEASE, size, small < size ? "packed" : "not packed");
    return 0;
}
"#;

fn workspace() -> Option<Place> {
    let packages = fetched(MANIFEST)?;
    let source = |name: &str| packages.iter().find(|(package, _)| package == name).map(|(_, path)| path.clone());
    let (zstd, lua) = (source("zstd-sys")?.join("zstd/lib"), source("lua-src")?);
    let place = Place::with(&[("buildnet.yaml", CONFIGURATION), ("packer/main.c", PROGRAM)]);
    take(&zstd, &place.root().join("zstd"));
    for part in ["common", "compress", "decompress", "dictBuilder", "legacy"] {
        take(&zstd.join(part), &place.root().join("zstd").join(part));
    }
    for (name, version) in [("lua53", "lua-5.3.6"), ("lua54", "lua-5.4.9")] {
        take(&lua.join(version), &place.root().join(name));
    }
    Some(place)
}

/// Copies the C files of a directory, but not what lies below it.
fn take(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("temporary directory is writable");
    for entry in fs::read_dir(from).expect("the crate has this directory").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "c" || extension == "h") {
            fs::copy(&path, to.join(entry.file_name())).expect("temporary directory is writable");
        }
    }
}

#[test]
fn libraries_and_programs() {
    let Some(place) = workspace() else { return };
    let files = crate::support::contents(place.root());
    let sources = files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "c")).count();
    assert!(sources > 100, "{sources} C files");

    let built = place.tiers(&["build"]);
    assert_eq!(those(&built, &["full"]).split(' ').count(), 8, "{built:?}");
    let pack = |lua: &str| {
        let program = place.root().join(format!("packer/out/{lua}-packer"));
        let output = Command::new(program).arg("return string.rep('buildnet ', 1000)").output();
        String::from_utf8(output.expect("the program was built").stdout).expect("it writes text")
    };
    assert_eq!(pack("lua53"), "Lua 5.3.6: 9000 bytes, packed\n");
    assert_eq!(pack("lua54"), "Lua 5.4.9: 9000 bytes, packed\n");
    assert_eq!(those(&place.tiers(&["build"]), &["instant"]).split(' ').count(), 8);

    // A comment in one file of one library: the archive comes out the same.
    place.append("lua53/lstring.c", "/* nothing */\n");
    assert_eq!(those(&place.tiers(&["build"]), &["full", "failed"]), "lua53:build");

    // Another release number shows in the header and in the program, but concerns no part of zstd.
    let header = place.read("lua54/lua.h");
    let changed = header.replace("#define LUA_VERSION_RELEASE\t\"9\"", "#define LUA_VERSION_RELEASE\t\"99\"");
    assert_ne!(header, changed);
    place.write("lua54/lua.h", &changed);
    assert_eq!(those(&place.tiers(&["build"]), &["full", "failed"]), "lua54:build packer:build");
    assert_eq!(pack("lua54"), "Lua 5.4.99: 9000 bytes, packed\n");

    // And back: all of it is in the cache.
    place.write("lua54/lua.h", &header);
    let back = place.tiers(&["test"]);
    assert_eq!(those(&back, &["cached"]), "lua54:build packer:build");
    assert_eq!(those(&back, &["full"]), "packer:test");
    assert_eq!(pack("lua54"), "Lua 5.4.9: 9000 bytes, packed\n");
}
