//! Batches of steps that many deliveries take at the same time. A round does the steps that were asked for during the
//! round before, up to a bound. If no step is urgent, a round waits a little for more.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::store::{BATCH_MAX, BATCH_MAX_BYTES};

/// The number of steps that wait in line, for each kind and partition. Beyond it, a delivery waits before it can ask.
const WAITING_MAX: usize = 1024;

/// The end at which deliveries ask for a step.
pub(crate) struct Asking<T, A>(mpsc::Sender<Asked<T, A>>);

/// The end that receives the steps, in batches.
pub(crate) struct Batches<T, A> {
    asked: mpsc::Receiver<Asked<T, A>>,
    waiting: Vec<Asked<T, A>>,
}

/// One step, the bytes that it moves, and the channel for its answer.
struct Asked<T, A> {
    step: T,
    bytes: usize,
    answer: oneshot::Sender<A>,
}

/// The channels for the answers to one batch, in its order.
pub(crate) struct Answers<A>(Vec<oneshot::Sender<A>>);

/// The two ends of one line of steps.
pub(crate) fn batched<T, A>() -> (Asking<T, A>, Batches<T, A>) {
    let (asking, asked) = mpsc::channel(WAITING_MAX);
    (Asking(asking), Batches { asked, waiting: Vec::new() })
}

impl<T, A> Asking<T, A> {
    /// Asks for a step that moves `bytes` bytes, and waits for its answer. `None` at the very end of the process, when
    /// no loop is left to take the step.
    pub(crate) async fn ask(&self, step: T, bytes: usize) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { step, bytes, answer }).await.ok()?;
        answered.await.ok()
    }
}

impl<T, A> Batches<T, A> {
    /// Waits for the first step, and takes along the others that wait. `None` when no delivery can ask any more.
    pub(crate) async fn next(&mut self) -> Option<(Vec<T>, Answers<A>)> {
        self.next_within(|| Duration::ZERO).await
    }

    /// Like [`Self::next`], but waits for more steps, for `linger` at most, until the batch is as large as one script
    /// may move.
    pub(crate) async fn next_within(&mut self, linger: impl FnOnce() -> Duration) -> Option<(Vec<T>, Answers<A>)> {
        let left_over = !self.waiting.is_empty();
        if !left_over && self.asked.recv_many(&mut self.waiting, BATCH_MAX).await == 0 {
            return None;
        }
        let linger = if left_over { Duration::ZERO } else { linger() };
        let until = Instant::now() + linger;
        while !linger.is_zero() && self.room() > 0 {
            let room = self.room();
            let more = timeout_at(until, self.asked.recv_many(&mut self.waiting, room)).await;
            if !more.is_ok_and(|more| more > 0) {
                break;
            }
        }
        let batch = first(&mut self.waiting, |asked| asked.bytes);
        let (steps, answers) = batch.into_iter().map(|asked| (asked.step, asked.answer)).unzip();
        Some((steps, Answers(answers)))
    }

    /// The number of further steps that one script may take.
    fn room(&self) -> usize {
        let bytes: usize = self.waiting.iter().map(|asked| asked.bytes).sum();
        if bytes < BATCH_MAX_BYTES { BATCH_MAX.saturating_sub(self.waiting.len()) } else { 0 }
    }
}

impl<A> Answers<A> {
    /// Gives each asker its own answer.
    pub(crate) fn give(self, answers: impl IntoIterator<Item = A>) {
        for (asker, answer) in self.0.into_iter().zip(answers) {
            // If this fails, the asker no longer waits: the worker is stopping.
            let _ = asker.send(answer);
        }
    }
}

/// Takes the first items of `waiting`, as many as one script may move; at least one if there is any.
pub(crate) fn first<T>(waiting: &mut Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = waiting.iter().take(BATCH_MAX).enumerate().take_while(|(index, entry)| {
        bytes += bytes_of(entry);
        *index == 0 || bytes <= BATCH_MAX_BYTES
    });
    let count = fits.count();
    waiting.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_number_and_by_bytes_and_is_never_empty() {
        let sizes = |given: &[usize]| {
            let (mut waiting, mut batches) = (given.to_vec(), Vec::new());
            while !waiting.is_empty() {
                batches.push(first(&mut waiting, |size| *size).len());
            }
            batches
        };
        assert_eq!(sizes(&[1; 120]), [50, 50, 20]);
        assert_eq!(sizes(&[1 << 20; 9]), [4, 4, 1]);
        assert_eq!(sizes(&[16 << 20, 16 << 20, 1, 1]), [1, 1, 2]);
        assert!(first(&mut Vec::new(), |size: &usize| *size).is_empty());
    }

    #[tokio::test]
    async fn steps_asked_for_during_a_round_share_the_next_and_each_gets_its_own_answer() {
        let (asking, mut batches) = batched::<usize, usize>();
        let asking = std::sync::Arc::new(asking);
        let askers: Vec<_> = (0..60)
            .map(|number| {
                tokio::spawn({
                    let asking = asking.clone();
                    async move { asking.ask(number, 1).await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 60 {
            let (steps, answers) = batches.next().await.unwrap();
            sizes.push(steps.len());
            answers.give(steps.into_iter().map(|step| step * 2));
        }
        for (number, asker) in askers.into_iter().enumerate() {
            assert_eq!(asker.await.unwrap(), Some(number * 2));
        }
        assert_eq!(sizes, [50, 10]);
        drop(asking);
        assert!(batches.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_lingers_waits_for_more_up_to_a_time_and_a_number() {
        let (asking, mut batches) = batched::<usize, usize>();
        let asking = std::sync::Arc::new(asking);
        for number in 0..90 {
            let asking = asking.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(number / 10)).await;
                asking.ask(0, 1).await
            });
        }
        let mut sizes = Vec::new();
        for linger in [2, 20, 20] {
            let (steps, answers) = batches.next_within(|| Duration::from_millis(linger)).await.unwrap();
            sizes.push(steps.len());
            answers.give(steps);
        }
        assert_eq!((sizes.iter().sum::<usize>(), sizes[1]), (90, 50), "{sizes:?}");
        assert!((10..50).contains(&sizes[0]), "{sizes:?}");
    }
}
