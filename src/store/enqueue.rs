//! Enqueueing. It is the only step that is a plain command and not a script, because producers in any language do the
//! same.

use crate::{
    domain::{account::AccountId, new_event::NewEvent},
    store::{Store, StoreError, Unanswered},
};

impl Store {
    /// Adds events to the queues of their accounts in one round trip. Returns, in their order, each event's entry id or
    /// the error with which Redis refused it. A Redis at `maxmemory` may accept some and refuse others.
    ///
    /// Do not repeat it blindly: each success adds an entry.
    ///
    /// # Errors
    /// [`Unanswered`] if no answer came. It says whether the events may have been accepted nevertheless.
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
