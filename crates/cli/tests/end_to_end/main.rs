//! What users do from beginning to end, with the program itself, in its sandbox, on real input.

mod c_code_base;
mod cargo_workspace;
mod daemon_build;
mod demo;
mod faults;
mod kills;
mod layers;
mod npm_workspace;
mod remote_cache;
mod support;
