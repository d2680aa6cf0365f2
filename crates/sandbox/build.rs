//! Names the platforms on which commands can be isolated, once for all `cfg`s.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(isolation)");
    let target = |key: &str| std::env::var(key).unwrap_or_default();
    let arch = target("CARGO_CFG_TARGET_ARCH");
    if target("CARGO_CFG_TARGET_OS") == "linux" && matches!(arch.as_str(), "x86_64" | "aarch64") {
        println!("cargo::rustc-cfg=isolation");
    }
}
