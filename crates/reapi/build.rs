//! Compiles the descriptors that gRPC reflection tells clients. The code of the protocols comes from `bazel-remote-apis`, which
//! has no descriptors; `proto/` declares the same messages, and only what the server serves.

use std::path::PathBuf;

use protox::prost::Message;

const FILES: [&str; 3] = [
    "build/bazel/remote/asset/v1/remote_asset.proto",
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "google/bytestream/bytestream.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
