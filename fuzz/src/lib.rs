//! Fuzz targets: plain functions over bytes, in one table, for any driver.
//!
//! The driver of this crate (`cargo run -p buildnet-fuzz -- TARGET`) mutates a corpus without looking at coverage, and runs on a stable
//! toolchain. How to attach libFuzzer where a nightly one is at hand: `fuzz/README.md`.

pub mod campaign;
mod house;
pub mod mutate;
mod targets;

pub use crate::targets::TARGETS;

/// A parser of bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How it is called on the command line; its corpus lies in `corpus/` under the same name.
    pub name: &'static str,
    /// Takes an input. Panics when something is wrong with what the input did, not with the input.
    pub run: fn(&[u8]),
    /// Good inputs, which mutation starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something in the inputs.
    pub words: &'static [&'static str],
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// The seeds, and what lies in the target's directory below `corpus/`: inputs that once failed.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut files: Vec<_> =
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        // The order of a directory is nobody's; a seed must give the same inputs everywhere.
        files.sort();
        (self.seeds)().into_iter().chain(files.iter().filter_map(|path| std::fs::read(path).ok())).collect()
    }
}
