//! Decides, turn by turn of the event loop, whether requests that could be sent are held back for others to come.
//!
//! Workers that are called in a row interrupt what runs beside the server less often than workers that are called one
//! by one. Holding back pays where requests come close together, which shows when several are there at once. Where
//! requests do not, an idle turn costs more than it brings, and holding back is soon given up. Never here: the
//! requests.

/// Decides for how many turns of the event loop the batch waits for more. Starts with none.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct BatchWindow {
    /// The most turns in a row that may bring no further write.
    most: u32,
    idle: u32,
    waiting: usize,
    more_came: bool,
}

impl BatchWindow {
    /// Notes that the first writes since the last batch are there: so many.
    pub(in crate::acceptor) fn begin(&mut self, waiting: usize) {
        if waiting > 1 || self.more_came {
            self.most = MOST_IDLE;
        } else if self.idle > 0 {
            // The last batch waited in vain.
            self.most /= 2;
        }
        (self.idle, self.waiting, self.more_came) = (0, waiting, false);
    }

    /// Notes how many writes are there after another turn.
    pub(in crate::acceptor) fn look(&mut self, waiting: usize) {
        if waiting > self.waiting {
            (self.idle, self.waiting, self.more_came) = (0, waiting, true);
        } else {
            self.idle += 1;
        }
    }

    /// Whether to wait for another turn.
    pub(in crate::acceptor) fn waits_for_more(&self) -> bool {
        self.waiting < MANY && self.idle < self.most
    }
}

/// A batch of so many writes is sent at once.
const MANY: usize = 32;
/// The most idle turns; each is a call of epoll_wait(2) that finds nothing.
const MOST_IDLE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of turns that a batch waits which has `first` writes at first, and so many after each turn; the last
    /// number stays.
    fn turns(window: &mut BatchWindow, first: usize, after: &[usize]) -> usize {
        window.begin(first);
        let mut turns = 0;
        while window.waits_for_more() {
            window.look(after.get(turns).or(after.last()).copied().unwrap_or(first));
            turns += 1;
        }
        turns
    }

    #[test]
    fn one_at_a_time_is_not_held_back() {
        let mut window = BatchWindow::default();
        assert_eq!([(); 5].map(|()| turns(&mut window, 1, &[])), [0; 5]);
    }

    #[test]
    fn several_at_once_are_waited_for_until_nobody_else_comes() {
        let mut window = BatchWindow::default();
        let most = MOST_IDLE as usize;
        assert_eq!(turns(&mut window, 2, &[]), most);
        assert_eq!(turns(&mut window, 2, &[2, 3, 3, 5]), 4 + most);
        assert_eq!(turns(&mut window, 1, &[1, 2]), 2 + most, "the next one may be alone at first");
        assert_eq!(turns(&mut window, MANY - 1, &[MANY + 1]), 1, "so many go at once");
        assert_eq!(turns(&mut window, MANY, &[]), 0);
    }

    #[test]
    fn waiting_in_vain_is_given_up() {
        let mut window = BatchWindow::default();
        turns(&mut window, 2, &[]);
        assert_eq!([(); 5].map(|()| turns(&mut window, 1, &[])), [4, 2, 1, 0, 0]);
        assert_eq!(turns(&mut window, 3, &[]), MOST_IDLE as usize);
    }
}
