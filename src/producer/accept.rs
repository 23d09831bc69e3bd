//! Accepting a request of one account: its events are enqueued all or not at all, once for each idempotency key.

use crate::{
    domain::{
        account::AccountId,
        event::{EnvelopeFault, EventId},
        failure::Failure,
        idempotency::{Fingerprint, IdempotencyKey, KeyedIds},
        new_event::NewEvent,
    },
    producer::{Producer, ROUND_TRIP_BYTES, ROUND_TRIP_EVENTS},
    store::{Acceptance, StoreError, Unanswered},
};

/// A request's idempotency key, and the body by which a repetition is recognised.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// The key.
    pub key: &'a IdempotencyKey,
    /// The request's body as it came: the envelope of a single event, or the whole batch.
    pub body: &'a [u8],
    /// For a batch, the place of each event in the body, from 0. A batch may leave events out. `None`: a single event.
    pub places: Option<&'a [usize]>,
}

/// Events that are in the queue, or were there before if this request is a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The `webhook-id` that receivers get, for each event in its order.
    pub ids: Vec<EventId>,
    /// Whether the key came before with the same request, so that nothing was enqueued now.
    pub repeated: bool,
}

/// An event that is no valid envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// Its place among the events, from 0.
    pub index: usize,
    /// All its faults; at least one.
    pub faults: Vec<EnvelopeFault>,
}

/// The reason why no event of a request was enqueued, or possibly none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// These events are no valid envelopes, so none was sent.
    #[error("{} of the events cannot be accepted", .0.len())]
    Refused(Vec<Faulty>),
    /// Too much for one step: over [`ROUND_TRIP_EVENTS`] events, or several of over [`ROUND_TRIP_BYTES`] together.
    #[error("{events} events of {bytes} bytes are too much at once")]
    TooMuch {
        /// The number of events.
        events: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The key came before with another request. The events of this one are not in the queue.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// No event was enqueued by this request: Redis is unreachable or refused it. After [`StoreError::Full`], repeat
    /// when workers have drained the queue.
    #[error("the events were not enqueued")]
    NotAccepted(#[source] StoreError),
    /// No answer came: all events are in the queue, or none is. Repeat under the same key, or with the same own ids.
    #[error("no answer came, so the events may or may not be in the queue")]
    Unknown(#[source] StoreError),
}

impl AcceptError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused(_) | Self::TooMuch { .. } | Self::KeyReused => Failure::Refused,
            Self::NotAccepted(error) | Self::Unknown(error) => error.failure(),
        }
    }
}

impl Producer {
    /// Puts a request's events into their account's queue: all or none of them.
    ///
    /// All events are judged first, and one that is invalid refuses all. A single event without a key is a plain
    /// `XADD`; everything else is one script. A request with a key is a repetition if the same account sent the key
    /// within the last 24 hours (48 at most, fewer if `idempotency.max_bytes` is too small for them). Its body, and for
    /// a single event its own id, has to be the same, and for a batch the events that are taken of it. A batch of which
    /// none is taken notes its key.
    ///
    /// An event without an id of its own gets one: with a key it is made from account, key and body, so that it is the
    /// same at each repetition, however late; without, workers derive it from the entry.
    ///
    /// The script takes more rights in Redis than `XADD`: those of the user `server` in `deploy/redis/users.acl`.
    ///
    /// With a key, a request that got no answer is sent a second time, because that is safe. If the second gets an
    /// answer, [`Accepted::repeated`] may be true although the caller sent the request once.
    ///
    /// # Errors
    /// [`AcceptError`] says whether the events were refused, are not in the queue, or may be there.
    pub async fn accept(
        &self,
        account: &AccountId,
        events: &[NewEvent],
        key: Option<Keyed<'_>>,
    ) -> Result<Accepted, AcceptError> {
        self.judge_all(events)?;
        match (events, key) {
            ([], None) => Ok(Accepted { ids: Vec::new(), repeated: false }),
            ([event], None) => {
                let entry = self.store.enqueue(&[(account, event)]).await.pop().expect("one answer for one event");
                Ok(self.under_entries(account, events, &[entry?]))
            }
            (_, None) => match self.store.accept(account, events, None).await? {
                Acceptance::Accepted(entries) => Ok(self.under_entries(account, events, &entries)),
                Acceptance::Stayed => Err(stayed()),
                Acceptance::Repeated | Acceptance::Differs => unreachable!("without a key, nothing is compared"),
            },
            (_, Some(keyed)) => self.accept_keyed(account, events, keyed).await,
        }
    }

    /// All faults of an envelope; none if a worker accepts it.
    pub fn faults(&self, envelope: &[u8]) -> Vec<EnvelopeFault> {
        self.catalogue.faults(envelope)
    }

    fn judge_all(&self, events: &[NewEvent]) -> Result<(), AcceptError> {
        let bytes = events.iter().map(NewEvent::size_bytes).sum();
        if events.len() > ROUND_TRIP_EVENTS || (events.len() > 1 && bytes > ROUND_TRIP_BYTES) {
            return Err(AcceptError::TooMuch { events: events.len(), bytes });
        }
        let faulty = events.iter().enumerate().filter(|(_, event)| self.judge(event).is_err());
        let faulty: Vec<_> =
            faulty.map(|(index, event)| Faulty { index, faults: self.faults(&event.envelope) }).collect();
        if faulty.is_empty() { Ok(()) } else { Err(AcceptError::Refused(faulty)) }
    }

    async fn accept_keyed(
        &self,
        account: &AccountId,
        events: &[NewEvent],
        Keyed { key, body, places }: Keyed<'_>,
    ) -> Result<Accepted, AcceptError> {
        let made = KeyedIds::of(account, key, body);
        let with_id = |(index, event): (usize, &NewEvent)| {
            let made = || places.map_or_else(|| made.single(), |places| made.at(places[index]));
            event.clone().with_id(event.id.clone().unwrap_or_else(made))
        };
        let identified: Vec<NewEvent> = events.iter().enumerate().map(with_id).collect();
        let fingerprint = match places {
            Some(places) => Fingerprint::of_batch(places, body),
            None => Fingerprint::of(events.first().and_then(|event| event.id.as_ref()), body),
        };
        let send = || self.store.accept(account, &identified, Some((key, &fingerprint)));
        let answer = match send().await {
            // A refusal of the second does not say what became of the first.
            Err(Unanswered::Unknown(reason)) => match send().await {
                Ok(answer) => answer,
                Err(_) => return Err(AcceptError::Unknown(reason)),
            },
            first => first?,
        };
        match answer {
            Acceptance::Differs => return Err(AcceptError::KeyReused),
            Acceptance::Stayed => return Err(stayed()),
            Acceptance::Accepted(_) | Acceptance::Repeated => {}
        }
        let ids = identified.into_iter().filter_map(|event| event.id).collect();
        Ok(Accepted { ids, repeated: answer == Acceptance::Repeated })
    }

    /// Events that were enqueued as these entries, without a key.
    fn under_entries(&self, account: &AccountId, events: &[NewEvent], entries: &[String]) -> Accepted {
        let id = |(event, entry): (&NewEvent, &String)| self.id_under(account, event, entry);
        Accepted { ids: events.iter().zip(entries).map(id).collect(), repeated: false }
    }
}

/// The error for events that were added in part and could not be taken back.
fn stayed() -> AcceptError {
    let missing = "the Redis user in redis.url lacks a right: run `lynkhook doctor --role server`";
    AcceptError::Unknown(StoreError::Unfit(missing.to_owned()))
}

impl From<Unanswered> for AcceptError {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::NotDone(reason) => Self::NotAccepted(reason),
            Unanswered::Unknown(reason) => Self::Unknown(reason),
        }
    }
}
