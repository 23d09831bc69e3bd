//! How much a connection may bring. What an endpoint sends costs this worker its time, whether anybody wants it or not: an
//! HTTP/2 library discards what comes for a stream that is over, and interim responses have no end in either protocol.
//! So each response that is being read may bring so much, and all besides is bounded until the next one was read.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Response;

/// What a connection may bring besides the responses that are being read: headers, interim responses, frames that only
/// HTTP/2 knows, and what was under way when an attempt was given up.
const BESIDES_BYTES: u64 = 256 * 1024;

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
    reading: usize,
}

/// A response that is being read.
#[derive(Debug)]
pub(super) struct Reading(Intake);

impl Intake {
    /// Of a new connection, each of whose responses may bring so much.
    pub(super) fn new(response_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State { left_bytes: BESIDES_BYTES, response_bytes, reading: 0 })))
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
        state.left_bytes = state.left_bytes.saturating_add(state.response_bytes);
        drop(state);
        Some(Reading(intake))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// The response was read to its end. Of one that is dropped instead, more may be under way.
    pub(super) fn ended(self) {
        let mut state = self.0.state();
        if state.reading == 1 {
            state.left_bytes = BESIDES_BYTES;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.state().reading -= 1;
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

    #[test]
    fn what_nobody_reads_is_bounded() {
        let intake = Intake::new(RESPONSE_BYTES);
        intake.came(200 * 1024).unwrap();
        intake.came(56 * 1024).unwrap();
        assert_eq!(intake.came(1).unwrap_err().kind(), TOO_MUCH);
    }

    #[test]
    fn each_response_may_bring_its_own_and_what_it_did_not_is_not_saved_up() {
        let intake = Intake::new(RESPONSE_BYTES);
        for _ in 0..10_000 {
            let responses: Vec<_> = (0..10).map(|_| response(&intake)).collect();
            assert_eq!(left(&intake), BESIDES_BYTES + 10 * RESPONSE_BYTES);
            intake.came(10).unwrap();
            responses.into_iter().for_each(Reading::ended);
            assert_eq!(left(&intake), BESIDES_BYTES);
        }
    }

    #[test]
    fn of_a_response_that_is_given_up_the_rest_may_still_come_and_only_that() {
        let intake = Intake::new(RESPONSE_BYTES);
        drop(response(&intake));
        intake.came(usize::try_from(BESIDES_BYTES + RESPONSE_BYTES).unwrap()).unwrap();
        intake.came(1).unwrap_err();
    }
}
