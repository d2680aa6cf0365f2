//! One action: materialise inputs, run in the sandbox, collect outputs.
