//! For backends in Rust: puts events into the queue, so that workers deliver them.
//!
//! A backend in another language does the same with one `XADD`. This module adds two things. It judges each envelope
//! first and refuses it if no worker would accept it, while the backend can still correct it. And it sends many events
//! in one round trip.
//!
//! A connection that was closed while idle is replaced before the next event is sent. Beyond that, enqueueing is not
//! repeated here, because a repetition adds a second event. [`EnqueueError`] tells apart the three cases of an event
//! that was not enqueued: it was refused, it is certainly not in the queue, or it is unknown whether it is in the
//! queue. A producer that gives its events ids of its own ([`NewEvent::with_id`]) may repeat in all cases: receivers
//! see one `webhook-id`.
//!
//! [`Producer::accept`] takes a whole request of one account: all of its events or none, and with an idempotency key
//! only once, however often it is repeated.
//!
//! There is no buffer. If Redis is full, the answer is [`StoreError::Full`], and the caller waits, or keeps the event
//! at its source.
//!
//! ```no_run
//! use chrono::Utc;
//! use lynkhook::{
//!     config::Settings,
//!     domain::transcript::{Transcript, Utterance},
//!     producer::{EnqueueError, Producer},
//! };
//!
//! # async fn backend() -> Result<(), Box<dyn std::error::Error>> {
//! // From LYNKHOOK_REDIS__URL and the other variables; once, at start. A `Producer` is cheap to clone.
//! let settings = Settings::load(None, std::env::vars_os())?;
//! let producer = Producer::connect(&settings).await?;
//!
//! let transcript = Transcript {
//!     message_id: "6601abc123def4567890abcd".to_owned(),
//!     status: "completed".to_owned(),
//!     utterances: vec![Utterance {
//!         speaker: "A".to_owned(),
//!         text: "Hi, thanks for calling.".to_owned(),
//!         further: Default::default(),
//!     }],
//!     conversation: "A: Hi, thanks for calling.".to_owned(),
//!     duration: 245.5, // seconds
//!     confidence: 0.94,
//!     language_code: "en".to_owned(),
//!     recruiter: "A".to_owned(),
//!     error: None,
//!     created_at: "2026-03-26T14:00:00Z".parse()?,
//!     triggered_at: "2026-03-26T14:01:12Z".parse()?,
//!     further: Default::default(),
//! };
//!
//! // The event's own id makes a repetition safe.
//! let id = format!("transcript-{}", transcript.message_id).parse()?;
//! let event = transcript.created(Utc::now())?.with_id(id);
//! match producer.enqueue(&"acme".parse()?, &event).await {
//!     Ok(enqueued) => println!("enqueued as {}", enqueued.stream_id),
//!     Err(EnqueueError::Refused(fault)) => eprintln!("this event will never be accepted: {fault}"),
//!     Err(error) => eprintln!("try again later: {error}"),
//! }
//! # Ok(())
//! # }
//! ```

mod accept;

use bytes::Bytes;

pub use self::accept::{AcceptError, Accepted, Faulty, Keyed};
pub use crate::domain::new_event::NewEvent;
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        event::{Catalogue, EnvelopeFacts, EnvelopeFault, EventId},
        failure::Failure,
    },
    store::{Store, StoreError, Unanswered},
};

/// The most events in one round trip.
pub const ROUND_TRIP_EVENTS: usize = 500;

/// The most bytes of events in one round trip. A larger event gets a round trip of its own.
pub const ROUND_TRIP_BYTES: usize = 4 << 20;

/// Puts events into the queue. Cheap to clone; one serves a whole process.
#[derive(Clone)]
pub struct Producer {
    store: Store,
    catalogue: Catalogue,
}

/// An event that is in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// Its entry's id in the queue's stream. Not the `webhook-id`: see [`Producer::event_id`].
    pub stream_id: String,
}

/// The reason why an event was not, or possibly not, enqueued.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// It is not a valid envelope, and was not sent. Repeating does not help.
    #[error("the event was refused")]
    Refused(#[source] EnvelopeFault),
    /// It is certainly not in the queue: Redis is unreachable or refused it. After [`StoreError::Full`], wait until
    /// workers have drained the queue, then repeat.
    #[error("the event is not in the queue")]
    NotAccepted(#[source] StoreError),
    /// It was sent and no answer came, so it may or may not be in the queue. Repeat it; receivers recognise the
    /// repetition if the event has an id of its own ([`NewEvent::with_id`]).
    #[error(
        "no answer came, so the event may or may not be in the queue; an event with an id of its own can be repeated, \
         because the repetition has the same webhook-id"
    )]
    Unknown(#[source] StoreError),
}

impl EnqueueError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused(_) => Failure::Refused,
            Self::NotAccepted(error) | Self::Unknown(error) => error.failure(),
        }
    }
}

/// The result for one event.
pub type Answer = Result<Enqueued, EnqueueError>;

impl Producer {
    /// Connects to the Redis of these settings, and checks that it is usable.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] or [`StoreError::Unfit`], like [`Store::open`].
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self::new(Store::open(settings).await?, settings.catalogue()))
    }

    /// A producer on an open store. The catalogue defines which envelopes are valid.
    pub fn new(store: Store, catalogue: Catalogue) -> Self {
        Self { store, catalogue }
    }

    /// Judges an event like [`Producer::enqueue`], but sends nothing.
    ///
    /// # Errors
    /// The reason why it is not a valid envelope.
    pub fn judge(&self, event: &NewEvent) -> Result<EnvelopeFacts, EnvelopeFault> {
        self.catalogue.judge(&event.envelope)
    }

    /// Puts one event into its account's queue.
    ///
    /// # Errors
    /// [`EnqueueError`] says whether the event was refused, is not in the queue, or may be there.
    pub async fn enqueue(&self, account: &AccountId, event: &NewEvent) -> Answer {
        let mut answers = self.round_trip(vec![(account, event)]).await;
        answers.pop().expect("one answer for one event")
    }

    /// The id that the receivers of an enqueued event get as `webhook-id`: the event's own id, or the id that workers
    /// derive from its entry.
    pub fn event_id(&self, account: &AccountId, event: &NewEvent, enqueued: &Enqueued) -> EventId {
        self.id_under(account, event, &enqueued.stream_id)
    }

    fn id_under(&self, account: &AccountId, event: &NewEvent, entry: &str) -> EventId {
        let partition = self.store.keys().partition(account);
        let derived = || EventId::derive(partition, entry, account.as_str(), &event.envelope);
        event.id.clone().unwrap_or_else(derived)
    }

    /// Puts one event into its account's queue, given as a serialized envelope, which is delivered byte for byte.
    ///
    /// # Errors
    /// Like [`Producer::enqueue`].
    pub async fn enqueue_bytes(&self, account: &AccountId, id: Option<EventId>, envelope: Bytes) -> Answer {
        self.enqueue(account, &NewEvent { id, ..NewEvent::from_envelope(envelope) }).await
    }

    /// Puts events into their accounts' queues, in order, up to [`ROUND_TRIP_EVENTS`] and [`ROUND_TRIP_BYTES`] at a
    /// time. Returns one answer for each event.
    ///
    /// Invalid events are skipped. If Redis does not accept an event, its round trip is the last one, and all later
    /// events get [`EnqueueError::NotAccepted`] for the same reason. Within that round trip, an event may be accepted
    /// although one before it was not.
    pub async fn enqueue_all(&self, events: &[(AccountId, NewEvent)]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(events.len());
        let mut stopped = None;
        for batch in round_trips(events) {
            let batch = batch.iter().map(|(account, event)| (account, event)).collect();
            if let Some(reason) = &stopped {
                answers.extend(self.not_sent(batch, reason));
                continue;
            }
            let batch = self.round_trip(batch).await;
            stopped = batch.iter().find_map(|answer| match answer {
                Err(EnqueueError::NotAccepted(reason) | EnqueueError::Unknown(reason)) => Some(reason.clone()),
                _ => None,
            });
            answers.extend(batch);
        }
        answers
    }

    /// Judges events, and sends the valid ones together.
    async fn round_trip(&self, events: Vec<(&AccountId, &NewEvent)>) -> Vec<Answer> {
        let faults: Vec<Option<EnvelopeFault>> = events.iter().map(|(_, event)| self.judge(event).err()).collect();
        let valid: Vec<_> =
            events.into_iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(event, _)| event).collect();
        let mut sent = self.store.enqueue(&valid).await.into_iter();
        let answer = |fault: Option<EnvelopeFault>| match fault {
            Some(fault) => Err(EnqueueError::Refused(fault)),
            None => match sent.next().expect("one answer for each event") {
                Ok(stream_id) => Ok(Enqueued { stream_id }),
                Err(Unanswered::NotDone(reason)) => Err(EnqueueError::NotAccepted(reason)),
                Err(Unanswered::Unknown(reason)) => Err(EnqueueError::Unknown(reason)),
            },
        };
        faults.into_iter().map(answer).collect()
    }

    /// The answers for events that are no longer sent.
    fn not_sent(&self, events: Vec<(&AccountId, &NewEvent)>, reason: &StoreError) -> Vec<Answer> {
        let answer = |(_, event): (_, &NewEvent)| match self.judge(event) {
            Err(fault) => Err(EnqueueError::Refused(fault)),
            Ok(_) => Err(EnqueueError::NotAccepted(reason.clone())),
        };
        events.into_iter().map(answer).collect()
    }
}

/// Divides events into round trips. Each is as long as both bounds allow, and never empty.
fn round_trips<T>(mut events: &[(T, NewEvent)]) -> impl Iterator<Item = &[(T, NewEvent)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, event): &&(T, NewEvent)| {
            bytes += event.size_bytes();
            bytes <= ROUND_TRIP_BYTES
        };
        let count = events.iter().take(ROUND_TRIP_EVENTS).take_while(fits).count().max(1);
        let batch;
        (batch, events) = events.split_at_checked(count)?;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(sizes: &[usize]) -> Vec<usize> {
        let events: Vec<((), NewEvent)> =
            sizes.iter().map(|size| ((), NewEvent::from_envelope(vec![b' '; *size]))).collect();
        round_trips(&events).map(<[_]>::len).collect()
    }

    #[test]
    fn a_round_trip_ends_at_either_bound() {
        assert_eq!(cut(&[]), [0; 0]);
        assert_eq!(cut(&[1; 500]), [500]);
        assert_eq!(cut(&[1; 501]), [500, 1]);
        assert_eq!(cut(&[1 << 20; 4]), [4]);
        assert_eq!(cut(&[1 << 20; 5]), [4, 1]);
        assert_eq!(cut(&[(4 << 20) - 1, 1, 1]), [2, 1]);
    }

    #[test]
    fn an_event_larger_than_the_bound_gets_a_round_trip_of_its_own() {
        assert_eq!(cut(&[1, 5 << 20, 1]), [1, 1, 1]);
    }
}
