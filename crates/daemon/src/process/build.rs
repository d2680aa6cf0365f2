//! Which build of the program this is.

use buildnet_digest::stat::Stamp;

/// Names this build of the program: its version, and the stat data of its file. A build that changes neither is the same.
pub fn program() -> String {
    let file = std::fs::File::open("/proc/self/exe").ok();
    let stamp = file.and_then(|file| rustix::fs::fstat(&file).ok()).map(|stat| Stamp::of(&stat));
    let told = stamp.map(|stamp| format!("{} {} {}", stamp.mtime_ns, stamp.size, stamp.inode));
    format!("{} {}", crate::VERSION, told.unwrap_or_default())
}
