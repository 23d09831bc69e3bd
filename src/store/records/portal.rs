//! An account's portal: links that open a session once, and sessions.

use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use super::{
    api_keys::{Fields, Time, clock},
    webhooks::parse,
};
use crate::{
    domain::{account::AccountId, portal::Grant, token::TokenHash},
    store::{Store, StoreError, ms},
};

/// The most links of an account, and the most sessions.
pub const PORTAL_MAX: usize = 100;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Link,
    Session,
}

/// An entry as Redis has it: its kind first, its end last, because the scripts look for them there.
#[derive(Deserialize)]
struct Entry {
    kind: Kind,
    #[serde(flatten)]
    grant: Grant,
    /// Unix ms by Redis's clock.
    until: i64,
}

/// A link or a session: its rights, and the time of its end by Redis's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalRecord {
    /// The rights.
    pub grant: Grant,
    /// The end.
    pub until: DateTime<Utc>,
}

impl Store {
    /// Adds a link for this time.
    pub async fn add_portal_link(
        &self,
        account: &AccountId,
        token: &TokenHash,
        grant: &Grant,
        life: Duration,
    ) -> Result<PortalRecord, StoreError> {
        #[derive(Serialize)]
        struct Link<'a> {
            kind: Kind,
            #[serde(flatten)]
            grant: &'a Grant,
        }
        let key = self.0.keys.portal(account);
        let link = serde_json::to_string(&Link { kind: Kind::Link, grant }).expect("texts are written without a fault");
        let mut script = self.0.scripts.portal_link.key(&key);
        script.arg(token.as_str()).arg(link).arg(ms(life)).arg(PORTAL_MAX);
        let stored: Vec<u8> = self.at_account(account).run_script(&script).await?;
        Ok(parse::<Entry>(&key, &stored)?.into())
    }

    /// Takes a link, which then is gone, and adds a session with its rights. `None` if there is no such link now.
    pub async fn enter_portal(
        &self,
        account: &AccountId,
        link: &TokenHash,
        session: &TokenHash,
        life: Duration,
    ) -> Result<Option<PortalRecord>, StoreError> {
        let key = self.0.keys.portal(account);
        let mut script = self.0.scripts.portal_enter.key(&key);
        script.arg(link.as_str()).arg(session.as_str()).arg(ms(life)).arg(PORTAL_MAX);
        let stored: Vec<u8> = self.at_account(account).run_script(&script).await?;
        if stored.is_empty() { Ok(None) } else { Ok(Some(parse::<Entry>(&key, &stored)?.into())) }
    }

    /// The link with this token; `None` if there is none now. It stays unused.
    pub async fn portal_link(
        &self,
        account: &AccountId,
        token: &TokenHash,
    ) -> Result<Option<PortalRecord>, StoreError> {
        self.living_entry(account, token, Kind::Link).await
    }

    /// The session with this token; `None` if there is none, or it has ended.
    pub async fn portal_session(
        &self,
        account: &AccountId,
        token: &TokenHash,
    ) -> Result<Option<PortalRecord>, StoreError> {
        self.living_entry(account, token, Kind::Session).await
    }

    async fn living_entry(
        &self,
        account: &AccountId,
        token: &TokenHash,
        kind: Kind,
    ) -> Result<Option<PortalRecord>, StoreError> {
        let key = self.0.keys.portal(account);
        let mut look = redis::pipe();
        look.cmd("HGET").arg(&key).arg(token.as_str()).cmd("TIME");
        let (found, time): (Option<Vec<u8>>, Time) = self.at_account(account).run_pipeline(&look).await?;
        let Some(json) = found else { return Ok(None) };
        Ok(living(parse(&key, &json)?, kind, time))
    }

    /// The living sessions of an account, each with the hash of its token, in the order of their ends.
    pub async fn portal_sessions(&self, account: &AccountId) -> Result<Vec<(String, PortalRecord)>, StoreError> {
        let key = self.0.keys.portal(account);
        let mut look = redis::pipe();
        look.cmd("HGETALL").arg(&key).cmd("TIME");
        let (found, time): (Fields, Time) = self.at_account(account).run_pipeline(&look).await?;
        let mut sessions = Vec::new();
        for (token, json) in found {
            match parse(&key, &json) {
                Ok(entry) => sessions.extend(living(entry, Kind::Session, time).map(|session| (token, session))),
                Err(error) => tracing::warn!(%error, "skipped an unreadable entry"),
            }
        }
        sessions.sort_by(|(a, one), (b, other)| (one.until, a).cmp(&(other.until, b)));
        Ok(sessions)
    }

    /// Ends the sessions whose token's hash begins so; '' ends all, and takes back the links too. Returns the number of
    /// living sessions that ended.
    pub async fn end_portal_sessions(&self, account: &AccountId, which: &str) -> Result<u64, StoreError> {
        let mut script = self.0.scripts.portal_end.key(self.0.keys.portal(account));
        script.arg(which);
        self.at_account(account).run_script(&script).await
    }
}

fn living(entry: Entry, kind: Kind, now: Time) -> Option<PortalRecord> {
    let lives = entry.kind == kind && entry.until > clock(now).timestamp_millis();
    lives.then(|| entry.into())
}

impl From<Entry> for PortalRecord {
    fn from(Entry { grant, until, .. }: Entry) -> Self {
        Self { grant, until: Utc.timestamp_millis_opt(until).single().unwrap_or_default() }
    }
}
