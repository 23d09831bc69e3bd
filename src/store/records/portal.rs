//! An account's portal: links that open a session once, and sessions. A link that was used stays until its own end, to
//! show the way back.

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

/// The most links of an account, the most of them that were used, and the most sessions.
pub const PORTAL_MAX: usize = 100;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Link,
    /// A link that was used. A server of an older version knows no such kind, and takes the link for none.
    Used,
    Session,
    /// A kind of a newer version.
    #[serde(other)]
    Other,
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

/// A link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortalLink {
    /// It can be used.
    Living(PortalRecord),
    /// It was used, or has ended.
    Spent(PortalRecord),
    /// There is none, or none any longer.
    Unknown,
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

    /// Uses a link, and adds a session with its rights. `None` if there is no such link now.
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

    /// The link with this token. Looking does not use it.
    pub async fn portal_link(&self, account: &AccountId, token: &TokenHash) -> Result<PortalLink, StoreError> {
        Ok(match self.portal_entry(account, token).await? {
            Some((entry @ Entry { kind: Kind::Link | Kind::Used, .. }, time)) => {
                if entry.kind == Kind::Link && entry.lives(time) {
                    PortalLink::Living(entry.into())
                } else {
                    PortalLink::Spent(entry.into())
                }
            }
            _ => PortalLink::Unknown,
        })
    }

    /// The session with this token; `None` if there is none, or it has ended.
    pub async fn portal_session(
        &self,
        account: &AccountId,
        token: &TokenHash,
    ) -> Result<Option<PortalRecord>, StoreError> {
        Ok(self.portal_entry(account, token).await?.and_then(|(entry, time)| entry.living_session(time)))
    }

    /// The entry with this token, and Redis's time.
    async fn portal_entry(&self, account: &AccountId, token: &TokenHash) -> Result<Option<(Entry, Time)>, StoreError> {
        let key = self.0.keys.portal(account);
        let mut look = redis::pipe();
        look.cmd("HGET").arg(&key).arg(token.as_str()).cmd("TIME");
        let (found, time): (Option<Vec<u8>>, Time) = self.at_account(account).run_pipeline(&look).await?;
        found.map(|json| Ok((parse(&key, &json)?, time))).transpose()
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
                Ok(entry) => sessions.extend(Entry::living_session(entry, time).map(|session| (token, session))),
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

impl Entry {
    fn lives(&self, now: Time) -> bool {
        self.until > clock(now).timestamp_millis()
    }

    fn living_session(self, now: Time) -> Option<PortalRecord> {
        (self.kind == Kind::Session && self.lives(now)).then(|| self.into())
    }
}

impl From<Entry> for PortalRecord {
    fn from(Entry { grant, until, .. }: Entry) -> Self {
        Self { grant, until: Utc.timestamp_millis_opt(until).single().unwrap_or_default() }
    }
}
