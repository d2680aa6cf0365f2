//! A disk that fills up while clients upload: each is told so in its own way, nothing half is visible, and what was stored stays.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use buildnet_digest::DigestFunction;
use buildnet_reapi::{CacheOptions, RemoteCache};

use self::common::{ENTRIES, Server, bytes};

/// A file system in memory, of so many MiB. Unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(mebibytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: a small file system cannot be mounted here, which takes root");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the store's threads may still be closing their files.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let server = Server::start_in(disk.path(), CacheOptions::default());
    let small = |path: &str| format!("small {path}").into_bytes();
    for path in ENTRIES {
        assert!(matches!(server.put(path, &small(path), &[]), 200..=202), "{path}");
    }
    // More than the disk has: what goes through a file fails in mid-write.
    let large = bytes(1, 64 << 20);
    let digest = DigestFunction::Sha256.digest(&large);
    let others = [
        "/gradle/ffff",
        "/v1/cache/654321",
        "/v8/artifacts/ff12?slug=house",
        "/ccache/ff/23456789abcdef0123456789abcdef01234567",
        "/sccache/f/f/f/fff",
        "/sstate/ff/cd/sstate%3Azlib%3A14%3Affff_package.tar.zst",
    ];
    for path in others {
        assert_eq!(server.put(path, &large, &[]), 507, "{path}");
        assert_eq!(server.curl(path, &[]).0, 404, "{path}");
    }
    assert_eq!(server.put(&format!("/cas/{}", digest.hex()), &large, &[]), 507);
    assert_eq!(server.curl(&format!("/cas/{}", digest.hex()), &[]).0, 404);
    let remote = format!("grpc://{}", server.authority);
    server.runtime.block_on(async {
        let remote = RemoteCache::connect(&remote, None).await.unwrap();
        let refused = remote.write(&[(digest, large.into())]).await.unwrap_err();
        assert!(format!("{refused:?}").contains("ResourceExhausted"), "{refused:?}");
        assert_eq!(remote.find_missing(&[digest]).await.unwrap(), [digest]);
    });
    assert_eq!(fs::read_dir(server.service.dir().join("spool")).unwrap().count(), 0);
    // Not even one byte is left: what is there is still read.
    let mut rest = fs::File::create(disk.path().join("rest")).unwrap();
    while rest.write_all(&[0; 4096]).is_ok() {}
    for path in ENTRIES {
        assert_eq!(server.curl(path, &[]), (200, small(path)), "{path}");
    }
    // With room again, uploads work again.
    drop(rest);
    fs::remove_file(disk.path().join("rest")).unwrap();
    let middle = bytes(2, 1 << 20);
    assert_eq!(server.put("/gradle/later", &middle, &[]), 201);
    assert_eq!(server.curl("/gradle/later", &[]), (200, middle));
}
