//! Archives that become directories.

use std::collections::HashSet;
use std::io::Write;

use buildnet_digest::tree::check_canonical;
use buildnet_digest::{Digest, DigestFunction, reapi};
use prost::Message;

use crate::house::house;

pub(super) const WORDS: &[&str] = &[
    "../",
    "/",
    "ustar\0",
    "PK\x03\x04",
    "PK\x05\x06",
    "PK\x06\x06",
    "00000000644",
    "777777777777",
    "path=",
    "linkpath=",
    "size=",
    "\0",
    "a",
];

/// What comes out of an archive is a tree in canonical form, all of it in the store.
pub(super) fn unpack(input: &[u8]) {
    let house = house();
    let path = house.service.spool_path();
    std::fs::write(&path, input).expect("the spool takes files");
    let unpacked = house.service.unpack(DigestFunction::Sha256, &path, "");
    std::fs::remove_file(&path).expect("the archive is still there");
    let Ok(root) = unpacked else { return };
    let (mut waiting, mut seen) = (vec![root], HashSet::new());
    while let Some(digest) = waiting.pop() {
        if !seen.insert(digest) {
            continue;
        }
        let bytes = house.service.store().read(&digest).expect("the store reads").expect("every directory is there");
        let directory = reapi::Directory::decode(bytes).expect("a directory is one");
        check_canonical(&directory).expect("a directory is canonical");
        let parse = |digest: Option<&reapi::Digest>| {
            Digest::from_reapi(DigestFunction::Sha256, digest.expect("a child has a digest")).expect("of this function")
        };
        for file in &directory.files {
            let there = house.service.store().contains(&parse(file.digest.as_ref()));
            assert!(there.expect("the store looks"), "the file {} is not there", file.name);
        }
        waiting.extend(directory.directories.iter().map(|child| parse(child.digest.as_ref())));
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let tar = tar();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let gzip = gzip.write_all(&tar).and_then(|()| gzip.finish()).unwrap_or_default();
    let zstd = zstd::bulk::compress(&tar, 1).unwrap_or_default();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    let filled = zip
        .start_file("a/b", options)
        .and_then(|()| Ok(zip.write_all(b"content")?))
        .and_then(|()| zip.add_symlink("link", "a/b", options))
        .and_then(|()| zip.add_directory("empty", options));
    let zip = filled.and_then(|()| zip.finish()).map(std::io::Cursor::into_inner).unwrap_or_default();
    vec![tar, gzip, zstd, zip]
}

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(7);
    let long = format!("{}/deep", "d".repeat(120));
    for name in ["a/b", &long] {
        // Writing to a vector fails only for names that are none.
        let _ = builder.append_data(&mut header.clone(), name, &b"content"[..]);
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    let _ = builder.append_link(&mut link, "link", "a/b");
    let mut hard = tar::Header::new_gnu();
    hard.set_entry_type(tar::EntryType::Link);
    hard.set_size(0);
    let _ = builder.append_link(&mut hard, "hard", "a/b");
    let _ = builder.append_pax_extensions([("path", &b"from/pax"[..])]);
    let _ = builder.append_data(&mut header, "short", &b"content"[..]);
    builder.into_inner().unwrap_or_default()
}
