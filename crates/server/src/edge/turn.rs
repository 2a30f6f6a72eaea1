//! When may a handshake go on?
//!
//! Its steps are short but many when a crowd comes back, and whoever is connected would stand in line behind them all.
//! So a step needs a permit, which is given back when the step is over: however many handshakes have news, only a few
//! stand in line. Waiting for the other side needs none, so that nobody can keep others out by saying nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// A future each of whose steps waits for its turn.
#[derive(Debug)]
pub(super) struct InTurn<F> {
    inner: F,
    turns: PollSemaphore,
}

impl<F> InTurn<F> {
    pub(super) fn new(inner: F, turns: Arc<Semaphore>) -> Self {
        Self { inner, turns: PollSemaphore::new(turns) }
    }
}

impl<F: Future + Unpin> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // None only if the semaphore were closed, which nobody does: then there is no line to stand in.
        let _turn = ready!(self.turns.poll_acquire(context));
        Pin::new(&mut self.inner).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_step_waits_for_its_turn_and_gives_it_back_even_if_there_is_nothing_to_do() {
        let turns = Arc::new(Semaphore::new(1));
        let mut context = Context::from_waker(Waker::noop());
        let mut silent = InTurn::new(pending::<()>(), turns.clone());
        let mut other = InTurn::new(ready(7), turns.clone());
        let busy = turns.clone().try_acquire_owned().unwrap();
        assert!(Pin::new(&mut other).poll(&mut context).is_pending(), "it went on while others were at work");
        drop(busy);
        assert_eq!(Pin::new(&mut other).poll(&mut context), Poll::Ready(7));
        assert!(Pin::new(&mut silent).poll(&mut context).is_pending());
        assert_eq!(turns.available_permits(), 1, "waiting for the other side keeps others out");
    }
}
