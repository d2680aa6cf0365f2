//! Times of whole processes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Wall times of several runs.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// The median.
    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// Smallest, median and largest in milliseconds, for people.
    pub(crate) fn text(&self) -> String {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        format!(
            "{:9.2} ms  ({:.2} to {:.2}, {} runs)",
            millis(self.median()),
            millis(first),
            millis(last),
            self.0.len()
        )
    }
}

/// Runs a command once; fails if it does.
pub(crate) fn once(mut command: Command) -> Result<Duration, String> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let took = began.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let tail: Vec<&str> = text.lines().rev().take(20).collect();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?}: {}\n{}\n{errors}", output.status, tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

/// Runs a command several times.
pub(crate) fn times(runs: usize, mut command: impl FnMut() -> Command) -> Result<Times, String> {
    let mut times = (0..runs.max(1)).map(|_| once(command())).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(Times(times))
}

/// Prints how quiet the machine is: the time of a fixed piece of work, several times.
pub(crate) fn noise() {
    let work = || {
        let began = Instant::now();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..9).map(|_| work()).collect();
    times.sort_by(f64::total_cmp);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("noise: a fixed loop takes {:.1} to {:.1} ms; load average {}", times[0], times[8], load.trim());
}

/// Highest resident memory of any child so far, in MiB.
pub(crate) fn children_peak_mib() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    #[allow(clippy::cast_precision_loss, reason = "memory in KiB fits into 52 bits")]
    usage.map_or(f64::NAN, |usage| usage.max_rss() as f64 / 1024.0)
}
