//! Running a target over many inputs, and making a failing one small.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Target;
use crate::mutate::{Chance, mutate};

/// Most attempts to make a failing input smaller.
const MAX_ATTEMPTS: usize = 3000;

/// When a campaign ends, unless something fails before.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Most inputs.
    pub runs: u64,
    /// Longest time.
    pub time: Duration,
}

/// What a campaign did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Inputs that were run.
    pub runs: u64,
    /// The time that the slowest input took.
    pub slowest: Duration,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// An input that made a target panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The input as it was found.
    pub found: Vec<u8>,
    /// The smallest one that still fails.
    pub smallest: Vec<u8>,
    /// What the panic said about the smallest one.
    pub message: String,
}

/// Runs the corpus as it is, then mutations of it. `before` sees each input before it runs: who keeps the last one has it even when
/// the process dies of it.
pub fn run(target: &Target, seed: u64, bound: Bound, mut before: impl FnMut(&[u8])) -> Report {
    let corpus = target.corpus();
    let mut chance = Chance::new(seed);
    let began = Instant::now();
    let mut report = Report { runs: 0, slowest: Duration::ZERO, failure: None };
    while report.runs < bound.runs && began.elapsed() < bound.time {
        let index = usize::try_from(report.runs).unwrap_or(usize::MAX);
        let input = corpus.get(index).cloned().unwrap_or_else(|| mutate(&mut chance, &corpus, target.words));
        before(&input);
        let started = Instant::now();
        let failed = attempt(target, &input).is_some();
        report.slowest = report.slowest.max(started.elapsed());
        report.runs += 1;
        if failed {
            report.failure = minimise(target, input);
            break;
        }
    }
    report
}

/// Runs one input; what the panic said, if there was one.
pub fn attempt(target: &Target, input: &[u8]) -> Option<String> {
    let said = quiet();
    said.lock().clear();
    // A target builds its state anew when a panic left it broken: it keeps nothing but stores behind locks that do not poison.
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    result.is_err().then(|| said.lock().clone())
}

/// Keeps what panics say, instead of printing thousands of traces.
fn quiet() -> Arc<Mutex<String>> {
    static SAID: Mutex<Option<Arc<Mutex<String>>>> = Mutex::new(None);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let said = Arc::new(Mutex::new(String::new()));
        *SAID.lock() = Some(Arc::clone(&said));
        std::panic::set_hook(Box::new(move |info| {
            let mut said = said.lock();
            said.push_str(&info.to_string());
            said.push('\n');
        }));
    });
    SAID.lock().clone().unwrap_or_default()
}

/// Leaves out what is not needed for the failure: ever smaller pieces, then single bytes become zeros.
fn minimise(target: &Target, found: Vec<u8>) -> Option<Failure> {
    let mut smallest = found.clone();
    let mut message = attempt(target, &found)?;
    let mut attempts = 0;
    let mut try_one = |candidate: Vec<u8>, smallest: &mut Vec<u8>, message: &mut String| {
        attempts += 1;
        if attempts > MAX_ATTEMPTS {
            return false;
        }
        let Some(said) = attempt(target, &candidate) else { return false };
        (*smallest, *message) = (candidate, said);
        true
    };
    let mut piece = smallest.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < smallest.len() {
            let mut candidate = smallest.clone();
            candidate.drain(at..(at + piece).min(candidate.len()));
            if !try_one(candidate, &mut smallest, &mut message) {
                at += piece;
            }
        }
        piece /= 2;
    }
    for at in 0..smallest.len() {
        if smallest[at] != b'0' {
            let mut candidate = smallest.clone();
            candidate[at] = b'0';
            try_one(candidate, &mut smallest, &mut message);
        }
    }
    Some(Failure { found, smallest, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fussy(input: &[u8]) {
        assert!(!input.windows(2).any(|pair| pair == b"BU"), "I do not like it");
    }

    #[test]
    fn failures_are_found_and_made_small() {
        let target = Target {
            name: "fussy",
            run: fussy,
            seeds: || vec![b"a long harmless text without anything in it".to_vec(), b"U and B".to_vec()],
            words: &["B", "U"],
        };
        let bound = Bound { runs: 200_000, time: Duration::from_mins(1) };
        let report = run(&target, 7, bound, |_| {});
        let failure = report.failure.expect("two letters in a row are soon found");
        assert_eq!(failure.smallest, b"BU");
        assert!(failure.message.contains("I do not like it"));
        assert_eq!(
            run(&target, 7, bound, |_| {}).failure.unwrap().found,
            failure.found,
            "the same seed, the same input"
        );
    }
}
