//! What a task may be expected to take, from what it took.

/// How many runs of a task are remembered.
pub(crate) const REMEMBERED: usize = 9;

/// Weight of a run relative to the one after it. With nine runs the newest three hold half of the weight, so that a lasting
/// change is believed after three runs, and one odd run never is once two others are known.
const DECAY: f64 = 0.8;

/// What one run of a task's command took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Wall time of the command, in microseconds.
    pub execution_us: u64,
    /// CPU time, in microseconds; 0 if not measured.
    pub cpu_us: u64,
    /// Highest resident memory, in bytes; 0 if not measured.
    pub peak_memory: u64,
}

/// What the next run of a task's command may be expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Wall time, in microseconds: the exponentially weighted median of the last runs.
    pub execution_us: u64,
    /// CPU time, in microseconds: the same median; 0 if never measured.
    pub cpu_us: u64,
    /// Resident memory, in bytes: the highest of the last runs; 0 if never measured.
    pub peak_memory: u64,
}

impl Expectation {
    /// From runs, newest first; none without any.
    pub fn from_samples(samples: &[Sample]) -> Option<Self> {
        let measured = samples.iter().map(|sample| sample.cpu_us).filter(|&cpu| cpu > 0);
        Some(Self {
            execution_us: weighted_median(samples.iter().map(|sample| sample.execution_us))?,
            cpu_us: weighted_median(measured).unwrap_or(0),
            peak_memory: samples.iter().map(|sample| sample.peak_memory).max()?,
        })
    }
}

/// The smallest value at which the values up to it hold half of the weight; the first value weighs most.
fn weighted_median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut weight = 1.0;
    let mut weighted: Vec<(u64, f64)> = values
        .map(|value| {
            let pair = (value, weight);
            weight *= DECAY;
            pair
        })
        .collect();
    weighted.sort_unstable_by_key(|&(value, _)| value);
    let half = weighted.iter().map(|&(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for &(value, weight) in &weighted {
        below += weight;
        if below >= half {
            return Some(value);
        }
    }
    weighted.last().map(|&(value, _)| value)
}

/// Adds a run in front and forgets the oldest beyond [`REMEMBERED`].
pub(crate) fn push(samples: &mut Vec<Sample>, sample: Sample) {
    samples.insert(0, sample);
    samples.truncate(REMEMBERED);
}

/// Samples as kept in the store: `wall,cpu,memory` per run, `;` between runs.
pub(crate) fn encode(samples: &[Sample]) -> String {
    let runs: Vec<String> =
        samples.iter().map(|run| format!("{},{},{}", run.execution_us, run.cpu_us, run.peak_memory)).collect();
    runs.join(";")
}

/// Reads what [`encode`] wrote; a run that cannot be read is left out, since estimates are only hints.
pub(crate) fn decode(text: &str) -> Vec<Sample> {
    text.split(';')
        .filter_map(|run| {
            let mut fields = run.split(',').map(|field| field.parse().ok());
            Some(Sample { execution_us: fields.next()??, cpu_us: fields.next()??, peak_memory: fields.next()?? })
        })
        .take(REMEMBERED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(newest_first: &[u64]) -> u64 {
        let samples: Vec<Sample> =
            newest_first.iter().map(|&execution_us| Sample { execution_us, ..Sample::default() }).collect();
        Expectation::from_samples(&samples).unwrap().execution_us
    }

    #[test]
    fn one_odd_run_changes_nothing_and_a_lasting_change_is_believed() {
        assert_eq!(expected(&[90_000, 100, 101, 102, 99, 100]), 101);
        assert_eq!(expected(&[900, 901, 902, 100, 101, 102, 99, 100, 98]), 900);
        assert_eq!(Expectation::from_samples(&[]), None);
    }

    proptest! {
        #[test]
        fn the_expectation_is_one_of_the_runs(runs in prop::collection::vec(0u64..1_000_000, 1..20)) {
            prop_assert!(runs.contains(&expected(&runs)));
        }

        #[test]
        fn samples_round_trip(runs in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..REMEMBERED)) {
            let samples: Vec<Sample> = runs
                .into_iter()
                .map(|(execution_us, cpu_us, peak_memory)| Sample { execution_us, cpu_us, peak_memory })
                .collect();
            prop_assert_eq!(decode(&encode(&samples)), samples);
        }

        #[test]
        fn damaged_samples_never_panic(text in ".{0,80}") {
            decode(&text);
        }
    }
}
