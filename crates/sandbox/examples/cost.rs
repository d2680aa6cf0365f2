//! What a sandbox costs beyond the command: `cargo run --release -p buildnet-sandbox --example cost [RUNS]`.

use std::path::PathBuf;
use std::time::Instant;

use buildnet_sandbox::{CancelHandle, Limits, Mode, Request, default_host_dirs, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: u32 = std::env::args().nth(1).map_or(Ok(100), |runs| runs.parse())?;
    // A caller of some size: what it has in memory must not matter.
    let resident = vec![1_u8; 100 << 20];
    for mode in [Mode::Off, Mode::Warn, Mode::Strict] {
        let request = Request {
            argv: vec!["/bin/true".into()],
            env: Vec::new(),
            working_dir: PathBuf::from("/"),
            mode,
            mounts: Vec::new(),
            host_dirs: default_host_dirs(false),
            network: false,
            limits: Limits::default(),
            trace: None,
        };
        let mut times = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            let exit = run(&request, &mut |_| {}, &CancelHandle::new())?;
            times.push(start.elapsed());
            assert!(exit.status.success(), "{exit:?}");
        }
        times.sort();
        println!("{mode:?}: median {:?}, fastest {:?}", times[times.len() / 2], times[0]);
    }
    println!("resident: {} MiB", std::hint::black_box(&resident).len() >> 20);
    Ok(())
}
