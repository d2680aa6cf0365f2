//! Making blobs files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use buildnet_digest::Digest;

use crate::core::Core;
use crate::error::CasError;
use crate::large::{self, LargeReader};
use crate::options::Sharing;
use crate::record::{Codec, Key, PACK_LIMIT};

impl Core {
    /// Makes a blob a file; false when it is not there.
    pub(crate) fn place(
        &self,
        digest: &Digest,
        to: &Path,
        executable: bool,
        sharing: Sharing,
    ) -> Result<bool, CasError> {
        let mode = match (sharing, executable) {
            (Sharing::Private, false) => 0o644,
            (Sharing::Private, true) => 0o755,
            (Sharing::ReadOnly, false) => 0o444,
            (Sharing::ReadOnly, true) => 0o555,
        };
        let failed = |error| CasError::outside("write", to, error);
        if digest.size() <= PACK_LIMIT {
            let Some(bytes) = self.read(digest)? else { return Ok(false) };
            write_whole(to, mode, |file| file.write_all(&bytes)).map_err(failed)?;
            return Ok(true);
        }
        let Some(found) = self.locate(&[Key::blob(digest)])?.pop().flatten() else { return Ok(false) };
        let Some(reader) = LargeReader::open(self, digest, &found)? else { return Ok(false) };
        let raw = found.entry.codec == Codec::Raw;
        // The store's files are not executable; a link shares the mode.
        if raw && sharing == Sharing::ReadOnly && !executable {
            if !is_whole(&reader).map_err(failed)? {
                self.condemn(&found, digest);
                return Ok(false);
            }
            match link(&large::path_of_digest(self, digest, Codec::Raw), to) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Another file system, too many links, or one that has none: a copy does as well.
                Err(error) => tracing::debug!(%error, "cannot link, copying"),
            }
        }
        let copied = write_whole(to, mode, |file| {
            if raw && reflink(&large::path_of_digest(self, digest, Codec::Raw), file) {
                return if is_whole(&reader)? { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
            (0..reader.count()).try_for_each(|index| file.write_all(&reader.block(index)?))
        });
        match copied {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.condemn(&found, digest);
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Checks all blocks of a file that is handed out as it is.
fn is_whole(reader: &LargeReader) -> io::Result<bool> {
    for index in 0..reader.count() {
        match reader.block(index) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A name beside `to` that nobody uses.
fn beside(to: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    to.with_file_name(format!(".buildnet-{}-{number}", std::process::id()))
}

/// Writes a new file with this mode in place of whatever `to` is.
fn write_whole(to: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = beside(to);
    let written = || {
        // Left by a process of this id that was killed.
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = options.open(&temporary).or_else(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                fs::remove_file(&temporary)?;
                return options.open(&temporary);
            }
            Err(error)
        })?;
        write(&mut file)?;
        // What the process's umask took away.
        if file.metadata()?.mode() & 0o7777 != mode {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        fs::rename(&temporary, to)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Links `from` as `to`, replacing what is there.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let temporary = beside(to);
    fs::hard_link(from, &temporary)?;
    let renamed = fs::rename(&temporary, to);
    // If `to` was a link to the same file already, rename does nothing and leaves both names (POSIX).
    let _ = fs::remove_file(&temporary);
    renamed
}

/// Shares the content where the file system can.
fn reflink(from: &Path, to: &File) -> bool {
    File::open(from).is_ok_and(|from| rustix::fs::ioctl_ficlone(to, &from).is_ok())
}
