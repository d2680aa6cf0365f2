//! What was measured.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::run::Done;
use super::{Machine, Nearness, Workload};

/// One workload, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was sent.
    pub workload: Workload,
    /// Requests answered.
    pub requests: u64,
    /// Blobs, digests or requests, as [`Workload::item`] says.
    pub items: u64,
    /// Bytes of content moved.
    pub bytes: u64,
    /// Bytes of the requests' messages.
    pub sent: u64,
    /// Bytes of the answers' messages.
    pub received: u64,
    /// From the first request to the last answer, in seconds.
    pub seconds: f64,
    /// Latencies in milliseconds: the median, and those that 90, 99 and 99.9 of 100 requests stay within, and the worst.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// The worst.
    pub worst: f64,
    /// How near it comes to what the machine allows, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearness: Option<Nearness>,
}

impl Measurement {
    pub(super) fn new(workload: Workload, mut latencies: Vec<Duration>, done: Done, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        let at = |thousandths: usize| {
            let index = (latencies.len() * thousandths).div_ceil(1000).saturating_sub(1);
            latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        Self {
            workload,
            requests: latencies.len() as u64,
            items: done.items,
            bytes: done.bytes,
            sent: done.sent,
            received: done.received,
            seconds: elapsed.as_secs_f64(),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            worst: at(1000),
            nearness: None,
        }
    }

    /// Requests in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn requests_a_second(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }

    /// Items in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.items as f64 / self.seconds } else { 0.0 }
    }

    /// MiB in a second.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub fn mebibytes(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / f64::from(1 << 20) / self.seconds } else { 0.0 }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<19} {:>10.0} {:<8}/s {:>8.1} MiB/s   p50 {:>8.2}  p90 {:>8.2}  p99 {:>8.2}  worst {:>8.2} ms",
            self.workload.name(),
            self.rate(),
            self.workload.item(),
            self.mebibytes(),
            self.p50,
            self.p90,
            self.p99,
            self.worst
        )?;
        match &self.nearness {
            Some(nearness) => write!(f, "\n{nearness}"),
            None => Ok(()),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The server.
    pub target: String,
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections.
    pub connections: usize,
    /// What the machine allows, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// One for each workload.
    pub measurements: Vec<Measurement>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let latencies = (1..=1000).rev().map(Duration::from_millis).collect();
        let measurement = Measurement::new(
            Workload::BatchUpdate,
            latencies,
            Done { items: 15_000, bytes: 1 << 20, ..Done::default() },
            Duration::from_secs(2),
        );
        assert_eq!(format!("{:.1}", measurement.p999), "999.0");
        insta::assert_snapshot!(measurement);
        let nothing = Measurement::new(Workload::ActionGet, Vec::new(), Done::default(), Duration::ZERO);
        insta::assert_snapshot!(nothing);
    }
}
