//! Side-by-side benchmarks of BuildNet and its peers.

fn main() {}
