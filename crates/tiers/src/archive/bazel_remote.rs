//! Directories of bazel-remote (<https://github.com/buchgr/bazel-remote>, version 2).
//!
//! - `cas.v2/hh/HASH-SIZE-RANDOM`: a zstd skippable frame (RFC 8878, section 3.1.2) before the content. The frame holds, little-endian,
//!   the size of the content (8 bytes), the compression (1 byte: 0 none, 1 zstd), the size of chunks (4), the number of offsets (8), and
//!   the offsets of the chunks in the file and of its end (8 each). Each chunk is a zstd frame of its own.
//! - `cas.v2/hh/HASH[-SIZE]-RANDOM.v1`: the content as it is.
//! - `ac.v2/hh/HASH-RANDOM`: an `ActionResult`. The size of the action is not known.
//! - `raw.v2/hh/HASH-RANDOM`: entries of clients that asked for no checks; they can be anything, and are left out.
//!
//! Hashes are SHA-256.

use std::io::{self, Read, Seek, SeekFrom};

use buildnet_digest::{Digest, DigestFunction};
use buildnet_reapi::EntryKey;

use super::ArchiveError;
use super::import::{Intake, MAX_RESULT, open, walk};

const FUNCTION: DigestFunction = DigestFunction::Sha256;
/// Magic number of the skippable frame.
const SKIPPABLE: u32 = 0x184D_2A50;
/// Bytes of the frame before the offsets, with its own header.
const FIXED: usize = 4 + 4 + 8 + 1 + 4 + 8;
/// Most offsets: 64 TiB in chunks of 1 MiB.
const MAX_OFFSETS: u64 = 1 << 26;

/// A name in one of the directories.
#[derive(Debug, PartialEq, Eq)]
struct Name<'n> {
    hash: &'n str,
    size: Option<u64>,
    /// Without a header.
    plain: bool,
}

impl<'n> Name<'n> {
    fn parse(path: &'n str) -> Option<Self> {
        let (directories, file) = path.rsplit_once('/')?;
        let stem = file.strip_suffix(".v1");
        let plain = stem.is_some();
        let mut parts = stem.unwrap_or(file).split('-');
        let hash = parts.next()?;
        let (first, second) = (parts.next()?, parts.next());
        let (size, random) = match second {
            Some(random) => (Some(first), random),
            None => (None, first),
        };
        let size = match size {
            Some(text) if text.starts_with('0') => return None,
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let random = !random.is_empty() && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let in_place = hex && directories.rsplit('/').next() == Some(&hash[..2]);
        (random && in_place && parts.next().is_none()).then_some(Self { hash, size, plain })
    }
}

pub(super) fn read(intake: &mut Intake<'_>) -> Result<(), ArchiveError> {
    let source = intake.importing.source;
    for (name, path) in walk(source, "cas.v2", &mut intake.report)? {
        let Some(parsed) = Name::parse(&name) else {
            intake.report.problem(name, "is no name of a blob with a SHA-256 hash");
            continue;
        };
        match open(&path) {
            Ok((file, length)) => blob(intake, &name, &parsed, file, length)?,
            Err(error) => intake.report.problem(name, format!("cannot be read: {error}")),
        }
    }
    for (name, path) in walk(source, "ac.v2", &mut intake.report)? {
        let Some(Name { hash, size: None, plain: false }) = Name::parse(&name) else {
            intake.report.problem(name, "is no name of a result with a SHA-256 hash");
            continue;
        };
        // The size does not enter the keys of these.
        let Ok(action) = Digest::from_hex(FUNCTION, hash, 1) else { continue };
        let content = open(&path).and_then(|(file, length)| {
            let mut bytes = Vec::new();
            file.take(MAX_RESULT + 1).read_to_end(&mut bytes)?;
            if length > MAX_RESULT { Err(io::Error::other("it is too large for a result")) } else { Ok(bytes) }
        });
        match content {
            Ok(bytes) => {
                for instance in intake.importing.instances {
                    intake.result(&name, EntryKey::action(instance, &action), &bytes)?;
                }
            }
            Err(error) => intake.report.problem(name, format!("cannot be read: {error}")),
        }
    }
    let raw = walk(source, "raw.v2", &mut intake.report)?;
    if !raw.is_empty() {
        intake.report.problem("raw.v2", format!("{} entries that were stored without checks are left out", raw.len()));
    }
    Ok(())
}

fn blob(
    intake: &mut Intake<'_>,
    name: &str,
    parsed: &Name<'_>,
    mut file: io::BufReader<std::fs::File>,
    length: u64,
) -> Result<(), ArchiveError> {
    let header = if parsed.plain { Ok(Header { size: length, zstd: false }) } else { Header::read(&mut file, length) };
    let header = match header {
        Ok(header) => header,
        Err(error) => {
            intake.report.problem(name, error.to_string());
            return Ok(());
        }
    };
    if parsed.size.is_some_and(|size| size != header.size) {
        intake.report.problem(name, format!("holds {} bytes", header.size));
        return Ok(());
    }
    let Ok(digest) = Digest::from_hex(FUNCTION, parsed.hash, header.size) else { return Ok(()) };
    if header.zstd {
        match zstd::Decoder::with_buffer(file) {
            Ok(mut decoder) => intake.blob(name, &digest, &mut decoder),
            Err(error) => {
                intake.report.problem(name, error.to_string());
                Ok(())
            }
        }
    } else {
        intake.blob(name, &digest, &mut file)
    }
}

/// What the frame before the content says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes of the content.
    size: u64,
    zstd: bool,
}

impl Header {
    /// Reads the frame of a file of `length` bytes, and leaves the reader at the content.
    fn read(file: &mut (impl Read + Seek), length: u64) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("its header {what}"));
        let mut fixed = [0; FIXED];
        file.read_exact(&mut fixed).map_err(|_| wrong("is truncated"))?;
        let number = |range: std::ops::Range<usize>| {
            fixed[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if number(0..4) != u64::from(SKIPPABLE) {
            return Err(wrong("does not begin as it should"));
        }
        let (frame, size, compression, offsets) = (number(4..8), number(8..16), fixed[16], number(21..29));
        if !(2..=MAX_OFFSETS).contains(&offsets)
            || frame != FIXED as u64 - 8 + offsets * 8
            || i64::try_from(size).is_err()
        {
            return Err(wrong("contradicts itself"));
        }
        let end = FIXED as u64 + offsets * 8;
        file.seek(SeekFrom::Start(end - 8))?;
        let mut last = [0; 8];
        file.read_exact(&mut last).map_err(|_| wrong("is truncated"))?;
        match compression {
            // The end of a file is told only where its chunks are.
            1 if u64::from_le_bytes(last) == length => Ok(Self { size, zstd: true }),
            0 if end.checked_add(size) == Some(length) => Ok(Self { size, zstd: false }),
            0 | 1 => Err(wrong("belongs to a file of another length: it is truncated")),
            _ => Err(wrong("names a compression that is not known")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn names() {
        let name = |size, plain| Some(Name { hash: HASH, size, plain });
        assert_eq!(Name::parse(&format!("cas.v2/2c/{HASH}-3-1a2B")), name(Some(3), false));
        assert_eq!(Name::parse(&format!("cas.v2/2c/{HASH}-3-7.v1")), name(Some(3), true));
        assert_eq!(Name::parse(&format!("cas.v2/2c/{HASH}-222444666.v1")), name(None, true));
        assert_eq!(Name::parse(&format!("ac.v2/2c/{HASH}-112233")), name(None, false));
        let upper = HASH.to_uppercase();
        for bad in [
            format!("cas.v2/2d/{HASH}-3-1"),
            format!("cas.v2/{HASH}-3-1"),
            format!("cas.v2/2c/{HASH}"),
            format!("cas.v2/2c/{HASH}-3-"),
            format!("cas.v2/2c/{HASH}-3-1-2"),
            format!("cas.v2/2c/{HASH}-03-1"),
            format!("cas.v2/2c/{HASH}-3-a.b"),
            format!("cas.v2/2C/{upper}-3-1"),
            "cas.v2/é/é-1-1".to_owned(),
        ] {
            assert_eq!(Name::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let good: Vec<u8> = [
            &SKIPPABLE.to_le_bytes()[..],
            &37_u32.to_le_bytes(),
            &3_u64.to_le_bytes(),
            &[0],
            &(1_u32 << 20).to_le_bytes(),
            &2_u64.to_le_bytes(),
            &45_u64.to_le_bytes(),
            &48_u64.to_le_bytes(),
            b"foo",
        ]
        .concat();
        let read = |bytes: &[u8]| Header::read(&mut Cursor::new(bytes), bytes.len() as u64);
        assert_eq!(read(&good).unwrap(), Header { size: 3, zstd: false });
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length}");
        }
        for (at, value) in [(0, 1), (4, 0), (8, 4), (15, 0x80), (16, 2), (21, 1), (21, 3), (28, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(read(&bad).is_err(), "byte {at} is {value}");
        }
    }
}
