//! The date and the time that openembedded-core's configuration keeps in variables: what that means for one that stays in memory.

use super::{CLOCKS, Workbench};
use crate::data::Store;
use crate::{Sym, Value};

const SECOND: i64 = 1_000_000_000;

// Clocks of a workbench in memory.
impl Workbench {
    /// Whether recipes that let the date or the time count would see the ones that the configuration has.
    pub(super) fn clocks_hold(&self) -> bool {
        let Some(cache) = &self.cache else { return false };
        let counted = cache.lock().counted_settings();
        let [date, time] = CLOCKS.map(|name| Sym::find(name).filter(|name| counted.contains(name)));
        let today = Written::at(buildnet_digest::stat::now_ns()).date;
        time.is_none()
            && date.is_none_or(|date| {
                self.dir.configurations().all(|(_, store)| content(store, date).is_none_or(|date| date == today))
            })
    }

    /// Sets the clocks of the configuration, as a process that reads it now would; false where that cannot be done, because they are
    /// written in a way of their own, or because what recipes came to depends on them.
    pub(super) fn set_clocks(&mut self) -> bool {
        let Some(cache) = &self.cache else { return false };
        let counted = cache.lock().counted_settings();
        let (from, until) = self.opened;
        let possible: Vec<Written> =
            (from / SECOND..=until / SECOND).map(|second| Written::at(second * SECOND)).collect();
        let now = Written::at(buildnet_digest::stat::now_ns());
        let parts: [fn(&Written) -> &str; 2] = [|written| &written.date, |written| &written.time];
        for (name, of) in CLOCKS.into_iter().zip(parts) {
            let Some(name) = Sym::find(name) else { continue };
            for store in self.dir.stores_mut() {
                let Some(own) = content(store, name) else { continue };
                if counted.contains(&name) || !possible.iter().any(|written| of(written) == own) {
                    return false;
                }
                store.edit(name).content = Some(Value::from(of(&now)));
            }
        }
        self.opened = (now.at, now.at);
        true
    }
}

fn content(store: &Store, name: Sym) -> Option<String> {
    match store.variable(name)?.content.as_ref()? {
        Value::Str(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A moment at Greenwich as bitbake.conf writes it.
struct Written {
    /// Nanoseconds since the epoch.
    at: i64,
    /// `YYYYMMDD`.
    date: String,
    /// `HHMMSS`.
    time: String,
}

impl Written {
    fn at(at: i64) -> Self {
        let seconds = at.div_euclid(SECOND);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days since 0000-03-01 to a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let date = format!("{:04}{month:02}{day:02}", year + era * 400 + i64::from(month <= 2));
        Self { at, date, time: format!("{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_python_writes_them() {
        for (second, date, time) in [
            (0, "19700101", "000000"),
            (951_782_399, "20000228", "235959"),
            (951_782_400, "20000229", "000000"),
            (1_735_689_599, "20241231", "235959"),
            (4_107_542_400, "21000301", "000000"),
        ] {
            let written = Written::at(second * SECOND);
            assert_eq!((written.date.as_str(), written.time.as_str()), (date, time));
        }
    }
}
