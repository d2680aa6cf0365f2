//! What a sandbox costs: `cargo run --release -p buildnet-sandbox --example cost [RUNS]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use buildnet_sandbox::{CancelHandle, Limits, Mode, Mount, MountKind, Request, Trace, default_host_dirs, probe, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(100), |runs| runs.parse())?;
    // A caller of some size: what it has in memory must not matter.
    let resident = vec![1_u8; 100 << 20];
    for (feature, availability) in probe().features {
        println!("{feature}: {availability:?}");
    }
    let strict = Request {
        argv: vec!["/bin/true".into()],
        env: Vec::new(),
        working_dir: PathBuf::from("/"),
        mode: Mode::Strict,
        mounts: Vec::new(),
        host_dirs: default_host_dirs(false),
        network: false,
        limits: Limits::default(),
        trace: None,
    };
    let off = Request { mode: Mode::Off, ..strict.clone() };
    let limited = Request {
        limits: Limits { wall: None, memory: Some(1 << 30), pids: Some(1000), cpu_millis: None },
        ..strict.clone()
    };
    let traced = Request { trace: Some(Trace { under: PathBuf::from("/usr/share") }), ..strict.clone() };
    measure("off", runs, |_| off.clone())?;
    measure("strict", runs, |_| strict.clone())?;
    measure("strict, memory and pids limited", runs, |_| limited.clone())?;
    measure("strict, traced", runs, |_| traced.clone())?;
    let scratch = PathBuf::from(format!("/var/tmp/sandbox-cost-{}", std::process::id()));
    measure("strict, in an overlay", runs, |index| {
        let dirs = ["lower", "upper", "work"].map(|name| scratch.join(format!("{name}-{index}")));
        for dir in &dirs {
            std::fs::create_dir_all(dir).expect("the scratch directory is writable");
        }
        let [source, upper, work] = dirs;
        let target = PathBuf::from("/buildnet/work");
        Request {
            working_dir: target.clone(),
            mounts: vec![Mount { source, target, kind: MountKind::Overlay { upper, work } }],
            ..strict.clone()
        }
    })?;
    std::fs::remove_dir_all(&scratch)?;
    println!("resident: {} MiB", std::hint::black_box(&resident).len() >> 20);
    Ok(())
}

fn measure(name: &str, runs: usize, request: impl Fn(usize) -> Request) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    let mut cpu_us = 0;
    let own_cpu = process_cpu();
    for index in 0..runs {
        let request = request(index);
        let start = Instant::now();
        let exit = run(&request, &mut |_| {}, &CancelHandle::new())?;
        times.push(start.elapsed());
        cpu_us += exit.usage.cpu_us;
        if !exit.status.success() {
            return Err(format!("{name}: {exit:?}").into());
        }
    }
    times.sort();
    // Of a machine that others use as well, the CPU time tells more than the median.
    let cpu = process_cpu().saturating_sub(own_cpu) + Duration::from_micros(cpu_us);
    let cpu = cpu / u32::try_from(runs)?;
    println!("{name}: median {:?}, fastest {:?}, CPU time {cpu:?}", times[times.len() / 2], times[0]);
    Ok(())
}

/// CPU time of this process so far, without that of its children.
fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
