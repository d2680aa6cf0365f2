//! Caches carried in files, and taken over from bazel-remote; and files that are not what they should be.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use buildnet_digest::{Digest, reapi};
use buildnet_reapi::{CacheOptions, CacheService, Identity, Role};
use buildnet_tiers::archive::{ArchiveError, ArchiveReport, Importing, export, import};
use prost::Message;

use crate::support::{FUNCTION, Local, noise};

fn service(local: &Local) -> CacheService {
    CacheService::open(local.store.clone(), &local.dir.path().join("clients"), CacheOptions::default()).unwrap()
}

fn take(local: &Local, source: &Path, instances: &[&str], dry_run: bool) -> Result<ArchiveReport, ArchiveError> {
    let instances: Vec<String> = instances.iter().map(|&instance| instance.to_owned()).collect();
    let writer = Identity::new("import", Role::Write);
    import(&service(local), &Importing { source, instances: &instances, writer, dry_run }, &mut |_| {})
}

fn give(local: &Local, target: &Path) -> ArchiveReport {
    export(&local.store, target, false, &mut |_| {}).unwrap()
}

#[test]
fn directories_and_tar_files_carry_everything() {
    let full = Local::new();
    let entries: Vec<_> = (0..3).map(|seed| full.fill("main", seed)).collect();
    for name in ["dir", "cache.tar", "cache.tar.zst"] {
        let target = full.dir.path().join(name);
        let given = give(&full, &target);
        assert_eq!((given.blobs, given.results, given.problem_count), (18, 3, 0));
        let empty = Local::new();
        let dry = take(&empty, &target, &[], true).unwrap();
        assert_eq!((dry.blobs, dry.bytes, dry.results), (given.blobs, given.bytes, given.results));
        assert_eq!(empty.store.stats().unwrap().blobs, 0, "a dry run stores nothing");
        let taken = take(&empty, &target, &[], false).unwrap();
        assert_eq!(taken, ArchiveReport { present: 0, ..given.clone() });
        for (key, result) in &entries {
            assert_eq!(empty.store.action_result(&key.key).unwrap().as_ref(), Some(result));
        }
        // Once more there is nothing to do.
        let again = take(&empty, &target, &[], false).unwrap();
        assert_eq!((again.blobs, again.results, again.present), (0, 0, 21));
        assert_eq!(service(&empty).purge_by_writer("import").unwrap(), 3, "it can be taken back");
    }
    let kept = full.dir.path().join("cache.tar");
    let refused = export(&full.store, &kept, false, &mut |_| {});
    assert!(matches!(refused, Err(ArchiveError::Exists { .. })), "a file is never replaced");
}

#[test]
fn what_broke_off_is_continued() {
    let (full, empty) = (Local::new(), Local::new());
    let (key, result) = full.fill("main", 1);
    let target = full.dir.path().join("dir");
    give(&full, &target);
    // As if the export had not come far, and had been killed in mid-file.
    let blobs = files(&target.join("blobs"));
    fs::remove_file(&blobs[0]).unwrap();
    fs::write(target.join(".partial-1"), "half").unwrap();
    let more = give(&full, &target);
    assert_eq!((more.blobs, more.present), (1, 5));
    // And the import: it has some of the blobs.
    empty.store.put_bytes(FUNCTION, &noise(1, 3 << 20)).unwrap();
    let taken = take(&empty, &target, &[], false).unwrap();
    assert_eq!((taken.blobs, taken.present, taken.results), (5, 1, 1));
    assert_eq!(empty.store.action_result(&key.key).unwrap(), Some(result));
}

#[test]
fn damaged_archives() {
    let full = Local::new();
    let (key, _) = full.fill("main", 1);
    let target = full.dir.path().join("dir");
    give(&full, &target);
    let blobs = files(&target.join("blobs"));
    let large = blobs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut content = fs::read(large).unwrap();
    content[1000] ^= 1;
    fs::write(large, &content).unwrap();
    let empty = Local::new();
    let taken = take(&empty, &target, &[], false).unwrap();
    assert_eq!((taken.blobs, taken.problem_count, taken.results, taken.incomplete), (5, 1, 0, 1));
    assert!(taken.problems[0].reason.contains("promised"), "{taken:?}");
    assert_eq!(empty.store.action_result(&key.key).unwrap(), None);
    assert_eq!(take(&empty, &target, &[], true).unwrap().problem_count, 1, "a dry run finds it, too");
    // Cut short; a symlink; a directory and a file that do not belong there.
    fs::write(large, &content[..5000]).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", target.join("blobs/link")).unwrap();
    std::os::unix::fs::symlink("/etc", target.join("results/etc")).unwrap();
    fs::write(target.join("blobs/stray"), "x").unwrap();
    let taken = take(&empty, &target, &[], false).unwrap();
    assert_eq!(taken.problem_count, 4, "{taken:?}");
    // A tar file that ends early gives what came before.
    let file = full.dir.path().join("cache.tar.zst");
    give(&full, &file);
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content[..content.len() / 2]).unwrap();
    let taken = take(&Local::new(), &file, &[], false).unwrap();
    assert!(taken.problem_count >= 1 && taken.results == 0, "{taken:?}");
    for nonsense in [&b""[..], b"nonsense", &[0; 2000], &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]] {
        fs::write(&file, nonsense).unwrap();
        assert!(matches!(take(&empty, &file, &[], false), Err(ArchiveError::Unknown { .. })), "{nonsense:?}");
    }
    assert!(matches!(take(&empty, full.dir.path(), &[], false), Err(ArchiveError::Unknown { .. })));
}

#[test]
fn names_in_a_tar_file_lead_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("evil.tar");
    let mut builder = tar::Builder::new(fs::File::create(&file).unwrap());
    let mut add = |name: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        // Set by hand: the library refuses names like these.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if kind.is_symlink() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    let good = FUNCTION.digest(b"good").hex();
    let name = format!("blobs/sha256/{}/{good}-4", &good[..2]);
    add("../../outside", tar::EntryType::Regular, b"evil");
    add("/tmp/outside", tar::EntryType::Regular, b"evil");
    add("blobs/sha256/../../outside", tar::EntryType::Regular, b"evil");
    add("blobs/link", tar::EntryType::Symlink, b"");
    add("blobs/device", tar::EntryType::Char, b"");
    add(&name.replace("-4", "-5"), tar::EntryType::Regular, b"good");
    add(&name, tar::EntryType::Regular, b"good");
    builder.into_inner().unwrap().flush().unwrap();
    let local = Local::new();
    let taken = take(&local, &file, &[], false).unwrap();
    assert_eq!((taken.blobs, taken.problem_count), (1, 6), "{taken:?}");
    assert!(local.store.contains(&FUNCTION.digest(b"good")).unwrap());
    assert!(!place.path().join("../outside").exists() && !Path::new("/tmp/outside").exists());
}

/// A directory in the layout of bazel-remote 2.
struct BazelRemote(tempfile::TempDir);

impl BazelRemote {
    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn plain(&self, content: &[u8]) -> Digest {
        let digest = FUNCTION.digest(content);
        let hex = digest.hex();
        fs::write(self.file(&format!("cas.v2/{}/{hex}-{}-77.v1", &hex[..2], digest.size())), content).unwrap();
        digest
    }

    /// With a header; compressed in chunks of 1 MiB or not at all.
    fn framed(&self, content: &[u8], compress: bool) -> (Digest, PathBuf) {
        let digest = FUNCTION.digest(content);
        let chunks: Vec<Vec<u8>> = if compress {
            content.chunks(1 << 20).map(|chunk| zstd::bulk::compress(chunk, 1).unwrap()).collect()
        } else {
            vec![content.to_vec()]
        };
        let start = 29 + 8 * (chunks.len() as u64 + 1);
        let mut offsets = vec![start];
        for chunk in &chunks {
            offsets.push(offsets[offsets.len() - 1] + chunk.len() as u64);
        }
        let mut file = 0x184D_2A50_u32.to_le_bytes().to_vec();
        file.extend(u32::try_from(start - 8).unwrap().to_le_bytes());
        file.extend(digest.size().to_le_bytes());
        file.push(u8::from(compress));
        file.extend((1_u32 << 20).to_le_bytes());
        file.extend((offsets.len() as u64).to_le_bytes());
        for offset in &offsets {
            file.extend(offset.to_le_bytes());
        }
        file.extend(chunks.concat());
        let hex = digest.hex();
        let path = self.file(&format!("cas.v2/{}/{hex}-{}-aB3", &hex[..2], digest.size()));
        fs::write(&path, file).unwrap();
        (digest, path)
    }

    fn result(&self, action: &Digest, outputs: &[Digest]) {
        let file = |digest: &Digest| reapi::OutputFile {
            path: digest.hex(),
            digest: Some(digest.to_reapi()),
            ..Default::default()
        };
        let result = reapi::ActionResult { output_files: outputs.iter().map(file).collect(), ..Default::default() };
        let hex = action.hex();
        fs::write(self.file(&format!("ac.v2/{}/{hex}-112233", &hex[..2])), result.encode_to_vec()).unwrap();
    }
}

#[test]
fn a_bazel_remote_directory_is_taken_over() {
    let other = BazelRemote(tempfile::tempdir().unwrap());
    let plain = other.plain(b"as it is");
    let (small, _) = other.framed(b"compressed", true);
    let (large, _) = other.framed(&noise(1, (3 << 20) + 17), true);
    let (framed, _) = other.framed(&noise(2, 100_000), false);
    let actions: Vec<Digest> = (0..3_u8).map(|number| FUNCTION.digest(&[number])).collect();
    other.result(&actions[0], &[plain, small, large, framed]);
    other.result(&actions[1], &[plain, FUNCTION.digest(b"evicted")]);
    let hex = actions[2].hex();
    fs::write(other.file(&format!("raw.v2/{}/{hex}-1", &hex[..2])), "anything").unwrap();
    let local = Local::new();
    let taken = take(&local, other.0.path(), &["main", ""], false).unwrap();
    assert_eq!((taken.blobs, taken.results, taken.incomplete), (4, 2, 2), "{taken:?}");
    assert_eq!(taken.problem_count, 1, "raw entries are told: {taken:?}");
    let service = service(&local);
    for instance in ["main", ""] {
        // Clients know the size of their action.
        let action = Digest::from_hex(FUNCTION, &actions[0].hex(), 142).unwrap();
        let result = service.action_result(instance, &action).unwrap().expect("it was imported");
        assert_eq!(result.output_files.len(), 4);
    }
    assert_eq!(service.action_result("other", &actions[0]).unwrap(), None);
    assert_eq!(local.store.read(&small).unwrap().unwrap(), "compressed");
    assert_eq!(local.store.read(&large).unwrap().unwrap(), noise(1, (3 << 20) + 17));
    let again = take(&local, other.0.path(), &["main", ""], false).unwrap();
    assert_eq!((again.blobs, again.results, again.present), (0, 0, 6));
}

#[test]
fn a_damaged_bazel_remote_directory() {
    let other = BazelRemote(tempfile::tempdir().unwrap());
    let good = other.plain(b"good");
    let (_, truncated) = other.framed(&noise(1, 5000), true);
    let content = fs::read(&truncated).unwrap();
    fs::write(&truncated, &content[..content.len() - 10]).unwrap();
    let (_, flipped) = other.framed(&noise(2, 5000), false);
    let mut content = fs::read(&flipped).unwrap();
    content[100] ^= 1;
    fs::write(&flipped, content).unwrap();
    let (_, bomb) = other.framed(&vec![0; 1 << 20], true);
    // The content is longer than the header and the name say.
    let mut content = fs::read(&bomb).unwrap();
    content[8..16].copy_from_slice(&7_u64.to_le_bytes());
    let renamed = bomb.with_file_name(bomb.file_name().unwrap().to_string_lossy().replace("-1048576-", "-7-"));
    fs::remove_file(&bomb).unwrap();
    fs::write(renamed, content).unwrap();
    let hex = FUNCTION.digest(b"x").hex();
    fs::write(other.file(&format!("cas.v2/{}/{hex}-5000-1", &hex[..2])), "no header").unwrap();
    fs::write(other.file(&format!("ac.v2/{}/{hex}-1", &hex[..2])), b"\xff\xff no result").unwrap();
    fs::write(other.file("ac.v2/.DS_Store"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", other.file(&format!("cas.v2/{}/{hex}-1-2.v1", &hex[..2]))).unwrap();
    let local = Local::new();
    let taken = take(&local, other.0.path(), &[""], false).unwrap();
    assert_eq!((taken.blobs, taken.results, taken.problem_count), (1, 0, 7), "{taken:?}");
    assert!(local.store.contains(&good).unwrap());
    assert_eq!(local.store.stats().unwrap().blobs, 1);
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
