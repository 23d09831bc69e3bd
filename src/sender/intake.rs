//! How much a connection may bring. What an endpoint sends costs this worker its time, whether anybody wants it or not: an
//! HTTP/2 library discards what comes for a stream that is over, and interim responses have no end in either protocol.
//! So each response that is being read may bring so much, and all besides is bounded until the next one was read.
//!
//! An HTTP/2 connection may be several customers': what one response did not bring, or still brings after it was given up,
//! must not be taken from the others. So nothing is taken back while something that was given up may be under way, and a
//! connection saves up no more than a number of responses may bring.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Response;
use tokio::time::Instant;

/// What a connection may bring besides the responses that are being read: headers, interim responses, frames that only
/// HTTP/2 knows and how it cuts bodies into them.
const BESIDES_BYTES: u64 = 1024 * 1024;

/// What was not brought by so many responses, or by as many as are being read, is saved up at most.
const SAVED_RESPONSES: u64 = 64;

/// For so long, of a response that was given up more may be under way.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// The kind of error that ends a connection which brings more. The HTTP/2 library passes on no more of an error than that,
/// and no system gives this one for a socket.
pub(super) const TOO_MUCH: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// One connection's allowance; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Intake(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    left_bytes: u64,
    /// What one response may bring.
    response_bytes: u64,
    /// Responses that are being read.
    reading: u64,
    /// When one was given up last.
    given_up: Option<Instant>,
}

/// A response that is being read. When it is dropped before its end, it is given up.
#[derive(Debug)]
pub(super) struct Reading {
    intake: Intake,
    whole: bool,
}

impl Intake {
    /// Of a new connection, each of whose responses may bring so much.
    pub(super) fn new(response_bytes: u64) -> Self {
        let state = State { left_bytes: BESIDES_BYTES, response_bytes, reading: 0, given_up: None };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Takes note of what came; an error where that was too much.
    pub(super) fn came(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state();
        state.left_bytes = state.left_bytes.checked_sub(bytes as u64).ok_or(TOO_MUCH)?;
        Ok(())
    }

    /// The headers of a response came on some connection: it is being read from here on.
    pub(super) fn reading<B>(response: &Response<B>) -> Option<Reading> {
        let intake = response.extensions().get::<Self>()?.clone();
        let mut state = intake.state();
        state.reading += 1;
        let most =
            state.response_bytes.saturating_mul(state.reading.max(SAVED_RESPONSES)).saturating_add(BESIDES_BYTES);
        state.left_bytes = state.left_bytes.saturating_add(state.response_bytes).min(most);
        drop(state);
        Some(Reading { intake, whole: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// The response was read to its end.
    pub(super) fn ended(mut self) {
        self.whole = true;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.intake.state();
        state.reading -= 1;
        if !self.whole {
            state.given_up = Some(Instant::now());
        } else if state.reading == 0 && state.given_up.is_none_or(|when| when.elapsed() >= UNDER_WAY) {
            (state.left_bytes, state.given_up) = (BESIDES_BYTES, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE_BYTES: u64 = 1000;

    fn response(intake: &Intake) -> Reading {
        let mut response = Response::new(());
        response.extensions_mut().insert(intake.clone());
        Intake::reading(&response).unwrap()
    }

    fn left(intake: &Intake) -> u64 {
        intake.state().left_bytes
    }

    fn come(intake: &Intake, bytes: u64) -> io::Result<()> {
        intake.came(usize::try_from(bytes).unwrap())
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let intake = Intake::new(RESPONSE_BYTES);
        come(&intake, 1000 * 1024).unwrap();
        come(&intake, 24 * 1024).unwrap();
        assert_eq!(intake.came(1).unwrap_err().kind(), TOO_MUCH);
    }

    #[test]
    fn each_response_may_bring_its_own_and_when_all_were_read_nothing_is_saved_up() {
        let intake = Intake::new(RESPONSE_BYTES);
        for _ in 0..1000 {
            let mut responses: Vec<_> = (0..100).map(|_| response(&intake)).collect();
            assert_eq!(left(&intake), BESIDES_BYTES + 100 * RESPONSE_BYTES);
            come(&intake, 10).unwrap();
            let last = responses.pop().unwrap();
            responses.into_iter().for_each(Reading::ended);
            assert_eq!(left(&intake), BESIDES_BYTES + 100 * RESPONSE_BYTES - 10, "one is being read");
            last.ended();
            assert_eq!(left(&intake), BESIDES_BYTES);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_of_responses_that_were_given_up_is_not_taken_from_the_others() {
        let intake = Intake::new(RESPONSE_BYTES);
        let given_up: Vec<_> = (0..10).map(|_| response(&intake)).collect();
        drop(given_up);
        response(&intake).ended();
        come(&intake, BESIDES_BYTES + 10 * RESPONSE_BYTES).unwrap();
        tokio::time::advance(UNDER_WAY).await;
        response(&intake).ended();
        assert_eq!(left(&intake), BESIDES_BYTES);
    }

    #[test]
    fn an_endpoint_whose_responses_are_all_given_up_or_never_end_saves_up_only_so_much() {
        let most = BESIDES_BYTES + SAVED_RESPONSES * RESPONSE_BYTES;
        let (gives_up, drips) = (Intake::new(RESPONSE_BYTES), Intake::new(RESPONSE_BYTES));
        let _dripping = response(&drips);
        for _ in 0..1000 {
            drop(response(&gives_up));
            response(&drips).ended();
        }
        assert_eq!((left(&gives_up), left(&drips)), (most, most));
    }
}
