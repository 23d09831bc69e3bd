//! What an attempt is doing, and how long each part of it took.
//!
//! The HTTP client does all of an attempt's work inside the attempt's own task: its name lookup, its connect and its
//! handshake are polled by the future that waits for the response. So a task-local [`Trace`] is found from the places
//! where something begins or ends: the resolver, a layer around the connector, and the TLS session store, which is
//! asked for a hint when the first handshake message is made, that is just after the TCP connection stands.
//!
//! One exception: while a connection is being made for an attempt, the pool may get another one back and use that. The
//! half-made connection is then finished in a task of the pool, where there is no trace: its marks go nowhere, and
//! its first poll over there tells the trace that the attempt went on without it. Nobody's deadline holds such a
//! connection any more, so it has one of its own: else an endpoint that never finishes a handshake collects sockets.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tower::{Layer, Service};

use crate::domain::outcome::{Phase, Phases};

/// A connection that no attempt waits for is given up when it is not ready within this.
const OVERTAKEN_LIMIT: Duration = Duration::from_secs(2);

tokio::task_local! {
    static CURRENT: Trace;
}

/// Something that began or ended in an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// A new connection is wanted.
    ConnectBegun,
    /// The name's lookup began.
    LookupBegun,
    /// The name's lookup ended, well or not.
    LookupEnded,
    /// The TCP connection stands; the first handshake message is being made.
    HandshakeBegun,
    /// The connection is ready for the request.
    Ready,
    /// Another connection became free first and took the request.
    Overtaken,
}

/// One attempt's phases; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Trace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    phases: Phases,
}

/// Tells the trace of the attempt that runs in this task, if one does.
pub(super) fn mark(mark: Mark) {
    let _ = CURRENT.try_with(|trace| trace.apply(mark));
}

impl Trace {
    /// The trace of an attempt that begins now. Unless a connect begins, it has a connection already and waits.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(State { phase: Phase::Waiting, since: Instant::now(), phases: Phases::default() })))
    }

    /// Runs `attempt` so that marks made in it reach this trace.
    pub(super) fn follow<F: Future>(&self, attempt: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), attempt)
    }

    /// What the attempt is doing.
    pub(super) fn phase(&self) -> Phase {
        self.with(|state| state.phase)
    }

    /// How long each part that is finished took.
    pub(super) fn phases(&self) -> Phases {
        self.with(|state| state.phases)
    }

    /// Complete response headers are there.
    pub(super) fn headers_arrived(&self) {
        self.with(|state| state.phases.first_byte = Some(state.since.elapsed()));
    }

    fn apply(&self, mark: Mark) {
        self.with(|state| match (mark, state.phase) {
            (Mark::ConnectBegun, _) => {
                state.phases = Phases::default();
                state.enter(Phase::Connecting);
            }
            (Mark::LookupBegun, Phase::Connecting) => _ = state.enter(Phase::Resolving),
            (Mark::LookupEnded, Phase::Resolving) => state.phases.dns = Some(state.enter(Phase::Connecting)),
            (Mark::HandshakeBegun, Phase::Connecting) => {
                state.phases.connect = Some(state.enter(Phase::Handshaking));
            }
            (Mark::Ready, Phase::Handshaking) => state.phases.tls = Some(state.enter(Phase::Waiting)),
            (Mark::Overtaken, _) => {
                state.phases = Phases::default();
                state.enter(Phase::Waiting);
            }
            // Out of order: better no figure than a wrong one.
            (Mark::LookupBegun | Mark::LookupEnded | Mark::HandshakeBegun | Mark::Ready, _) => {}
        });
    }

    fn is_followed_here(&self) -> bool {
        CURRENT.try_with(|current| Arc::ptr_eq(&self.0, &current.0)).unwrap_or(false)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Goes on to `phase`; how long the one before took.
    fn enter(&mut self, phase: Phase) -> Duration {
        let now = Instant::now();
        let took = now - self.since;
        (self.phase, self.since) = (phase, now);
        took
    }
}

/// Marks begin and end of a connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectLayer;

/// What [`ConnectLayer`] makes of a connector.
#[derive(Debug, Clone)]
pub(super) struct TracedConnector<S>(S);

impl<S> Layer<S> for ConnectLayer {
    type Service = TracedConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        TracedConnector(connector)
    }
}

impl<S, R> Service<R> for TracedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Error: From<io::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        mark(Mark::ConnectBegun);
        let mut trace = CURRENT.try_with(Trace::clone).ok();
        let mut connect = Box::pin(self.0.call(target));
        let mut limit = None;
        Box::pin(poll_fn(move |cx| {
            if let Some(overtaken) = trace.take_if(|trace| !trace.is_followed_here()) {
                overtaken.apply(Mark::Overtaken);
                limit = Some(Box::pin(tokio::time::sleep(OVERTAKEN_LIMIT)));
            }
            if limit.as_mut().is_some_and(|limit| limit.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            }
            let connected = connect.as_mut().poll(cx);
            if let Poll::Ready(Ok(_)) = connected {
                mark(Mark::Ready);
            }
            connected
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(marks: &[Mark]) -> Trace {
        let trace = Trace::begin();
        for mark in marks {
            trace.apply(*mark);
        }
        trace
    }

    #[test]
    fn each_mark_moves_to_the_next_phase_and_measures_the_one_before() {
        use Mark::{ConnectBegun, HandshakeBegun, LookupBegun, LookupEnded, Ready};
        let table = [
            (&[][..], Phase::Waiting, (false, false, false)),
            (&[ConnectBegun], Phase::Connecting, (false, false, false)),
            (&[ConnectBegun, LookupBegun], Phase::Resolving, (false, false, false)),
            (&[ConnectBegun, LookupBegun, LookupEnded], Phase::Connecting, (true, false, false)),
            (&[ConnectBegun, LookupBegun, LookupEnded, HandshakeBegun], Phase::Handshaking, (true, true, false)),
            (&[ConnectBegun, LookupBegun, LookupEnded, HandshakeBegun, Ready], Phase::Waiting, (true, true, true)),
        ];
        for (marks, phase, measured) in table {
            let trace = after(marks);
            let phases = trace.phases();
            assert_eq!(trace.phase(), phase, "{marks:?}");
            assert_eq!((phases.dns.is_some(), phases.connect.is_some(), phases.tls.is_some()), measured, "{marks:?}");
        }
    }

    #[test]
    fn an_attempt_whose_connect_was_overtaken_waits_and_has_no_connect_times() {
        let trace = after(&[Mark::ConnectBegun, Mark::LookupBegun, Mark::LookupEnded, Mark::Overtaken]);
        assert_eq!((trace.phase(), trace.phases()), (Phase::Waiting, Phases::default()));
    }

    #[test]
    fn marks_out_of_order_measure_nothing() {
        let trace = after(&[Mark::HandshakeBegun, Mark::LookupEnded, Mark::Ready]);
        assert_eq!((trace.phase(), trace.phases()), (Phase::Waiting, Phases::default()));
    }

    #[test]
    fn a_mark_outside_of_any_attempt_is_ignored() {
        mark(Mark::Ready);
    }

    #[tokio::test]
    async fn a_connect_that_is_finished_elsewhere_is_not_credited() {
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let finished = Arc::new(Mutex::new(Some(finished)));
        let connector = tower_fn(move |()| {
            let finished = finished.lock().unwrap().take().unwrap();
            async move {
                finished.await.map_err(io::Error::other)?;
                mark(Mark::HandshakeBegun);
                Ok::<_, io::Error>(())
            }
        });
        let trace = Trace::begin();
        let mut connect = CURRENT.sync_scope(trace.clone(), || ConnectLayer.layer(connector).call(()));
        assert_eq!(trace.phase(), Phase::Connecting);

        let background = tokio::spawn(poll_fn(move |cx| connect.as_mut().poll(cx)));
        finish.send(()).unwrap();
        background.await.unwrap().unwrap();
        assert_eq!((trace.phase(), trace.phases()), (Phase::Waiting, Phases::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connect_that_nobody_waits_for_any_more_is_given_up_soon() {
        let connector = tower_fn(|()| std::future::pending::<io::Result<()>>());
        let mut connect = CURRENT.sync_scope(Trace::begin(), || ConnectLayer.layer(connector).call(()));
        let began = tokio::time::Instant::now();
        let given_up = tokio::spawn(poll_fn(move |cx| connect.as_mut().poll(cx))).await.unwrap();
        assert_eq!(given_up.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), OVERTAKEN_LIMIT);
    }

    /// A service from a function, as `tower::service_fn`, which is behind a feature.
    fn tower_fn<F>(f: F) -> Function<F> {
        Function(f)
    }

    struct Function<F>(F);

    impl<F, T, E, Fut> Service<()> for Function<F>
    where
        F: FnMut(()) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        type Response = T;
        type Error = E;
        type Future = Fut;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Fut {
            self.0(())
        }
    }
}
