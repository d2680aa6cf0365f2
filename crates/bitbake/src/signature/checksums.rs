//! Checksums of local files that a task reads (`file-checksums`).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use buildnet_digest::stat::{Stamp, now_ns};
use buildnet_digest::{Diagnostic, ErrorCategory};
use md5::{Digest as _, Md5};
use parking_lot::Mutex;

/// Deepest directory that is walked.
const MAX_DEPTH: usize = 128;

/// The checksum of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileChecksum {
    /// Its path. In a directory that the recipe names, `/./` stands where that directory ends: what follows enters hashes.
    pub path: String,
    /// MD5 of its content, in hexadecimal.
    pub md5: String,
}

/// What makes a list of files unreadable as such. A file that cannot be read is left out, as BitBake does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// An entry is not `PATH:True` or `PATH:False`.
    #[error("`{0}` in a file-checksums flag does not say whether the file exists")]
    Entry(String),
    /// The file system's root, or a directory nested beyond reason.
    #[error("refusing to checksum all of {0}")]
    TooMuch(String),
    /// A pattern that is none.
    #[error("`{0}` is no pattern of file names")]
    Pattern(String),
}

impl Diagnostic for ChecksumError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }
}

/// Checksums, remembered while the stat data of a file stay the same.
#[derive(Debug, Default)]
pub struct FileChecksums {
    known: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

impl FileChecksums {
    /// The checksums of the files that an expanded `file-checksums` flag names, sorted by checksum.
    ///
    /// Directories are walked, those named in `excluded` and links left out. What is listed as absent is skipped.
    ///
    /// # Errors
    ///
    /// Where the list itself makes no sense.
    pub fn of_list(&self, list: &str, excluded: &[String]) -> Result<Vec<FileChecksum>, ChecksumError> {
        let mut found = Vec::new();
        for entry in entries(list) {
            let mut fields = entry.split(':');
            let path = fields.next().unwrap_or_default();
            match fields.next() {
                Some("False") => continue,
                Some(_) => {}
                None => return Err(ChecksumError::Entry(entry.to_owned())),
            }
            if path.contains('*') {
                for path in matching(path)? {
                    self.file_or_directory(&path, excluded, &mut found)?;
                }
            } else {
                self.file_or_directory(path, excluded, &mut found)?;
            }
        }
        found.sort_by(|a, b| a.md5.cmp(&b.md5));
        Ok(found)
    }

    /// The paths that a `file-checksums` flag names as there, directories and patterns among them.
    pub(crate) fn named(list: &str) -> impl Iterator<Item = &str> {
        entries(list).filter_map(|entry| entry.split(':').next())
    }

    fn file_or_directory(
        &self,
        path: &str,
        excluded: &[String],
        found: &mut Vec<FileChecksum>,
    ) -> Result<(), ChecksumError> {
        if !Path::new(path).is_dir() {
            found.extend(self.of_file(path));
            return Ok(());
        }
        if Path::new(path).is_symlink() {
            return Ok(());
        }
        let top = path.trim_end_matches('/');
        if top.is_empty() {
            return Err(ChecksumError::TooMuch(path.to_owned()));
        }
        self.directory(top, top, excluded, 0, found)
    }

    fn directory(
        &self,
        top: &str,
        directory: &str,
        excluded: &[String],
        depth: usize,
        found: &mut Vec<FileChecksum>,
    ) -> Result<(), ChecksumError> {
        if depth > MAX_DEPTH {
            return Err(ChecksumError::TooMuch(top.to_owned()));
        }
        let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{directory}/{name}");
            if !Path::new(&path).is_dir() {
                found.extend(self.of_file(&path.replace(top, &format!("{top}/."))));
            } else if !Path::new(&path).is_symlink() && !excluded.contains(&name) {
                self.directory(top, &path, excluded, depth + 1, found)?;
            }
        }
        Ok(())
    }

    fn of_file(&self, path: &str) -> Option<FileChecksum> {
        let stamp = Stamp::of(&rustix::fs::stat(path).ok()?);
        if let Some((known, md5)) = self.known.lock().get(Path::new(path))
            && *known == stamp
        {
            return Some(FileChecksum { path: path.to_owned(), md5: md5.clone() });
        }
        let md5 = md5_of(Path::new(path)).ok()?;
        // Another change within the same tick of the clock would not show.
        if stamp.is_settled(now_ns()) {
            self.known.lock().insert(path.into(), (stamp, md5.clone()));
        }
        Some(FileChecksum { path: path.to_owned(), md5 })
    }
}

/// What of a path counts for the order of files: the tail after `/./`, else the name.
pub(super) fn clean_path(path: &str) -> String {
    match path.split("/./").nth(1) {
        Some(tail) => format!("./{tail}"),
        None => path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// Entries end in `:True` or `:False` followed by white space; paths may contain white space themselves.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .char_indices()
            .find(|(at, c)| c.is_whitespace() && (rest[..*at].ends_with(":True") || rest[..*at].ends_with(":False")))
            .map_or(rest.len(), |(at, _)| at);
        let (entry, after) = rest.split_at(end);
        rest = after;
        Some(entry.trim_end())
    })
}

/// The paths that a shell-like pattern matches, as Python's `glob` finds them: hidden names only where the pattern says so.
fn matching(pattern: &str) -> Result<Vec<String>, ChecksumError> {
    let mut found = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        if part.contains(['*', '?', '[']) {
            let glob =
                globset::Glob::new(part).map_err(|_| ChecksumError::Pattern(pattern.to_owned()))?.compile_matcher();
            for base in &found {
                let directory = if base.is_empty() { "." } else { base };
                let names = std::fs::read_dir(directory)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok());
                let visible =
                    names.filter(|name| (part.starts_with('.') || !name.starts_with('.')) && glob.is_match(name));
                next.extend(visible.map(|name| format!("{base}{name}")));
            }
        } else {
            next.extend(found.iter().map(|base| format!("{base}{part}")).filter(|path| Path::new(path).exists()));
        }
        found = next.into_iter().map(|path| format!("{path}/")).collect();
    }
    Ok(found.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect())
}

fn md5_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_mark_where_they_end() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let top = dir.path().join("files");
        std::fs::create_dir_all(top.join("sub/.git")).expect("directories");
        std::fs::write(top.join("a.patch"), "a").expect("a file");
        std::fs::write(top.join("sub/b.c"), "b").expect("a file");
        std::fs::write(top.join("sub/.git/c"), "c").expect("a file");
        std::fs::write(top.join(".hidden"), "h").expect("a file");
        let top = top.to_str().expect("a plain path");
        let checksums = FileChecksums::default();
        let list = format!("{top}/a.patch:True {top}/missing:False  {top}/sub/:True {top}/gone:True");
        let found = checksums.of_list(&list, &[".git".to_owned()]).expect("a list");
        let shown: Vec<_> =
            found.iter().map(|file| (file.path.strip_prefix(top).unwrap_or("?"), file.md5.as_str())).collect();
        assert_eq!(
            shown,
            [("/a.patch", "0cc175b9c0f1b6a831c399e269772661"), ("/sub/./b.c", "92eb5ffee6ae2fec3ad71c777531578f")]
        );
        let globbed = checksums.of_list(&format!("{top}/*.patch:True {top}/*idden:True"), &[]).expect("a list");
        assert_eq!(globbed.len(), 1, "hidden files do not match: {globbed:?}");
        assert_eq!(checksums.of_list("/a b c", &[]), Err(ChecksumError::Entry("/a b c".to_owned())));
        assert_eq!(checksums.of_list("/:True", &[]), Err(ChecksumError::TooMuch("/".to_owned())));
    }

    #[test]
    fn paths_may_contain_spaces() {
        let list = "/a b:True  /c:False\n/d e f:True";
        assert_eq!(entries(list).collect::<Vec<_>>(), ["/a b:True", "/c:False", "/d e f:True"]);
    }
}
