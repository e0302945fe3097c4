//! Gives memory back to the system that was freed but that the C library keeps for later.
//!
//! After a burst of work free memory lies between pieces in use, where the library leaves it. Giving it back takes
//! milliseconds, in which no thread can get memory, so that it is done when the process rests. Never here: what uses
//! the memory.

use std::time::Duration;

/// Gives memory back whenever the process rests after it has worked.
#[derive(Debug, Default)]
pub(crate) struct HeapTrim(TrimSchedule);

impl HeapTrim {
    /// Looks whether it is time, and then gives memory back. To be called every [`LOOK`], by one task of the process.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) async fn look(&mut self) {
        let Some(ticks) = cpu_ticks().filter(|ticks| self.0.is_time(*ticks)) else { return };
        let before = resident_pages();
        // The memory is given back on a thread that serves nobody, and a failure changes nothing.
        let _ = tokio::task::spawn_blocking(give_back).await;
        let gone = before.zip(resident_pages()).map_or(0, |(before, after)| before.saturating_sub(after));
        self.0.done(cpu_ticks().unwrap_or(ticks), gone >= WORTH_IT);
    }
}

/// Decides when to give memory back: once each time that the process has worked, and less often where that gives
/// nothing.
#[derive(Debug, Default)]
struct TrimSchedule {
    /// The CPU time at the last look, and when memory was last given back, in ticks.
    looked: u64,
    done: u64,
    /// How many looks to leave out now, and after the next time without success.
    left_out: u32,
    next: u32,
}

impl TrimSchedule {
    /// Whether the process has worked since memory was last given back, and rests now.
    fn is_time(&mut self, ticks: u64) -> bool {
        let lately = ticks.saturating_sub(std::mem::replace(&mut self.looked, ticks));
        if self.left_out > 0 {
            self.left_out -= 1;
            return false;
        }
        lately <= REST && ticks.saturating_sub(self.done) > WORK
    }

    /// Notes that memory was given back; `worth_it`: it was enough for the trouble.
    fn done(&mut self, ticks: u64, worth_it: bool) {
        (self.looked, self.done) = (ticks, ticks);
        self.next = if worth_it { 0 } else { (self.next * 2 + 1).min(MOST_LEFT_OUT) };
        self.left_out = self.next;
    }
}

/// The CPU time of the process so far, in hundredths of a second; see proc_pid_stat(5).
fn cpu_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, which may have spaces, stands in parentheses; the state is the first field behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The memory of the process that is not on disk, in pages; see proc_pid_statm(5).
fn resident_pages() -> Option<u64> {
    std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// Gives all whole pages that are free back.
fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the standard library has no interface to malloc_trim(3)")]
        // SAFETY: the call takes the library's own locks, and touches no memory that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// The interval of looks whether the process rests.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
/// The most CPU time in [`LOOK`] that counts as rest, in hundredths of a second.
const REST: u64 = 25;
/// The least CPU time after which memory may be worth giving back, in hundredths of a second.
const WORK: u64 = 10;
/// The number of pages that are worth the trouble.
const WORTH_IT: u64 = 256;
/// The most looks that are left out when there was nothing to give back.
const MOST_LEFT_OUT: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_work_and_not_while_it_lasts() {
        let mut rest = TrimSchedule::default();
        let looks = |rest: &mut TrimSchedule, looks: &[(u64, bool)]| {
            for (ticks, expected) in looks {
                assert_eq!(rest.is_time(*ticks), *expected, "{ticks}");
            }
        };
        looks(&mut rest, &[(5, false), (500, false), (1400, false), (1420, true)]);
        rest.done(1422, true);
        looks(&mut rest, &[(1422, false), (1427, false), (1432, false), (1440, true)]);
    }

    #[test]
    fn where_nothing_is_gained_it_is_tried_less_often_and_often_again_once_something_is() {
        let mut rest = TrimSchedule::default();
        let mut ticks = 0;
        let mut gaps = Vec::new();
        for worth_it in [false, false, false, false, false, true, false] {
            let mut looks = 0;
            loop {
                (ticks, looks) = (ticks + 20, looks + 1);
                if rest.is_time(ticks) {
                    break;
                }
            }
            gaps.push(looks);
            rest.done(ticks, worth_it);
        }
        assert_eq!(gaps, [1, 2, 4, 8, 8, 8, 1]);
    }

    #[test]
    fn cpu_time_is_read_and_giving_back_harms_nothing() {
        let before = cpu_ticks().unwrap();
        let kept: Vec<Vec<u8>> = (0..100).map(|byte| vec![byte; 10_000]).collect();
        give_back();
        assert!(kept.iter().zip(0..).all(|(bytes, byte)| bytes.iter().all(|found| *found == byte)));
        assert!(cpu_ticks().unwrap() >= before);
        assert!(resident_pages().unwrap() > 100);
    }
}
