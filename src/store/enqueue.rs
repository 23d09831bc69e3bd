//! Enqueueing: the one step that is a plain command and no script, because any producer in any language does it too.

use crate::{
    domain::{account::AccountId, new_event::NewEvent},
    store::{Store, StoreError, Unanswered},
};

impl Store {
    /// Adds events to their accounts' queues in one round trip; answers, in their order, the id of each one's entry
    /// or why Redis refused it. A Redis at `maxmemory` may accept some and refuse others.
    ///
    /// Not to be repeated blindly: each success adds an entry.
    ///
    /// # Errors
    /// [`Unanswered`] where no answer came; it says whether the events may have been accepted all the same.
    pub async fn enqueue(
        &self,
        events: &[(&AccountId, &NewEvent)],
    ) -> Result<Vec<Result<String, StoreError>>, Unanswered> {
        let keys = &self.0.keys;
        let mut pipeline = redis::Pipeline::with_capacity(events.len());
        for (account, event) in events {
            let add = pipeline.cmd("XADD").arg(keys.queue(keys.partition(account))).arg("*");
            add.arg("account").arg(account.as_str()).arg("envelope").arg(&event.envelope[..]);
            if let Some(id) = &event.id {
                add.arg("id").arg(id.as_str());
            }
            if let Some(traceparent) = &event.traceparent {
                add.arg("traceparent").arg(traceparent);
            }
        }
        self.only().run_each(&mut pipeline).await
    }
}
