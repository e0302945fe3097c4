//! Decides whose TLS handshake goes on next on this thread: one step in each turn of the event loop, client after
//! client.
//!
//! A step may cost a signature and a key exchange, which is more than all the rest of a request. A client that begins
//! very many handshakes thus delays others' requests by one step at a time, and others' handshakes by one step for each
//! of theirs. While no handshake waits, a step is taken at once. Never here: the handshake itself (`tls`).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::name::ClientNet;

/// The handshakes of a thread. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(in crate::acceptor) struct HandshakeTurns(Rc<RefCell<HandshakeQueue>>);

#[derive(Default)]
struct HandshakeQueue {
    /// The clients that wait, the next one first.
    order: VecDeque<Option<ClientNet>>,
    /// The clients' handshakes, in the order they came.
    waiting: HashMap<Option<ClientNet>, VecDeque<Rc<QueuedHandshake>>>,
    /// Whether a step was taken in this turn of the event loop, or is granted to a handshake.
    taken: bool,
    /// The waker of [`HandshakeTurns::run`], while no step was taken.
    runner: Option<Waker>,
}

#[derive(Default)]
struct QueuedHandshake {
    place: Cell<HandshakeTurn>,
    task: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum HandshakeTurn {
    #[default]
    Nowhere,
    Queued,
    Granted,
    Gone,
}

impl HandshakeTurns {
    /// Grants the steps, for as long as the future is polled. To be run once for each thread.
    pub(in crate::acceptor) async fn run(self) {
        loop {
            poll_fn(|cx| self.0.borrow_mut().poll_taken(cx)).await;
            loop {
                // The yield lasts until all tasks that were ready have run, and the kernel was asked for more.
                tokio::task::yield_now().await;
                let next = self.0.borrow_mut().next();
                match next {
                    Some(ticket) => ticket.grant(),
                    None => break,
                }
            }
        }
    }

    /// Does the work, a handshake, one step at a time. Calls `crowded` when very many handshakes of the client wait
    /// already. Cancel-safe if the work is.
    pub(in crate::acceptor) async fn in_turn<W: Future>(
        &self,
        client: Option<ClientNet>,
        mut work: Pin<&mut W>,
        crowded: impl Fn(),
    ) -> W::Output {
        let ticket = Leaves(Rc::default());
        poll_fn(|cx| match self.0.borrow_mut().may_step(client, &ticket.0, cx, &crowded) {
            true => work.as_mut().poll(cx),
            false => Poll::Pending,
        })
        .await
    }
}

/// Takes a handshake that is given up out of the queue.
struct Leaves(Rc<QueuedHandshake>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.place.set(HandshakeTurn::Gone);
    }
}

impl QueuedHandshake {
    fn grant(&self) {
        self.place.set(HandshakeTurn::Granted);
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }
}

impl HandshakeQueue {
    fn poll_taken(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.taken {
            return Poll::Ready(());
        }
        self.runner = Some(cx.waker().clone());
        Poll::Pending
    }

    fn may_step(
        &mut self,
        client: Option<ClientNet>,
        ticket: &Rc<QueuedHandshake>,
        cx: &Context<'_>,
        crowded: &impl Fn(),
    ) -> bool {
        if ticket.place.get() == HandshakeTurn::Granted || !self.taken {
            ticket.place.set(HandshakeTurn::Nowhere);
            self.taken = true;
            self.runner.take().into_iter().for_each(Waker::wake);
            return true;
        }
        *ticket.task.borrow_mut() = Some(cx.waker().clone());
        if ticket.place.replace(HandshakeTurn::Queued) != HandshakeTurn::Queued {
            let own = self.waiting.entry(client).or_default();
            if own.is_empty() {
                self.order.push_back(client);
            }
            own.push_back(Rc::clone(ticket));
            if own.len() == CROWD {
                crowded();
            }
        }
        false
    }

    /// The next handshake of the client whose turn it is; when none waits, the next step is free.
    fn next(&mut self) -> Option<Rc<QueuedHandshake>> {
        while let Some(client) = self.order.pop_front() {
            let Some(own) = self.waiting.get_mut(&client) else { continue };
            while own.front().is_some_and(|ticket| ticket.place.get() == HandshakeTurn::Gone) {
                own.pop_front();
            }
            let ticket = own.pop_front();
            match own.is_empty() {
                true => drop(self.waiting.remove(&client)),
                false => self.order.push_back(client),
            }
            if ticket.is_some() {
                return ticket;
            }
        }
        self.taken = false;
        None
    }
}

/// The number of handshakes of one client that wait on one thread, above which the log says so.
const CROWD: usize = 64;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn net(last: u8) -> Option<ClientNet> {
        Some(ClientNet::of([10, 0, 0, last].into()))
    }

    /// A handshake of so many steps, each noted.
    async fn shake(
        handshakes: HandshakeTurns,
        client: u8,
        steps: usize,
        log: Rc<RefCell<Vec<u8>>>,
        crowd: Rc<Cell<u32>>,
    ) {
        let mut left = steps;
        let work = pin!(poll_fn(|cx| {
            log.borrow_mut().push(client);
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        handshakes.in_turn(net(client), work, || crowd.set(crowd.get() + 1)).await;
    }

    async fn all(of: &[(u8, usize)]) -> (Vec<u8>, u32) {
        let (handshakes, log, crowd) = (HandshakeTurns::default(), Rc::default(), Rc::<Cell<u32>>::default());
        let begun = of.iter().map(|(client, steps)| {
            shake(handshakes.clone(), *client, *steps, Rc::clone(&log), Rc::clone(&crowd))
        });
        let all = futures_util::future::join_all(begun);
        tokio::select! {
            biased;
            _ = all => {}
            () = handshakes.clone().run() => {}
        }
        let queue = handshakes.0.borrow();
        assert!(queue.order.is_empty() && queue.waiting.is_empty());
        (log.take(), crowd.get())
    }

    #[tokio::test]
    async fn clients_take_turns_however_many_handshakes_one_has() {
        let of: Vec<_> = [(1, 2); 5].into_iter().chain([(2, 2), (3, 1)]).collect();
        let (log, crowd) = all(&of).await;
        assert_eq!(log.len(), 13);
        assert_eq!(log[..6].iter().filter(|client| **client == 1).count(), 3, "{log:?}");
        assert_eq!(crowd, 0);
    }

    #[tokio::test]
    async fn a_crowd_is_told_and_nobody_is_forgotten() {
        let (log, crowd) = all(&[(1, 1); 2 * CROWD]).await;
        assert_eq!((log.len(), crowd), (2 * CROWD, 1));
    }

    #[tokio::test]
    async fn one_that_is_given_up_keeps_nobody_waiting() {
        let handshakes = HandshakeTurns::default();
        let (log, crowd) = (Rc::<RefCell<Vec<u8>>>::default(), Rc::default());
        let steps =
            |client| Box::pin(shake(handshakes.clone(), client, 1, Rc::clone(&log), Rc::clone(&crowd)));
        let mut first = steps(1);
        let (mut gone, mut last) = (steps(2), steps(3));
        let mut runner = pin!(handshakes.clone().run());
        poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_ready());
            assert!(gone.as_mut().poll(cx).is_pending());
            assert!(last.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(gone);
        tokio::select! {
            () = &mut runner => {}
            () = last => {}
        }
        assert_eq!(*log.borrow(), [1, 3]);
    }
}
