//! The `buildnet` program.

fn main() {}
