//! Links to the portal, and the sessions that they open.
//!
//! The platform's backend makes a link for a customer's account. The link's token opens one session, once and within
//! 5 min. A session lasts 8 h at most, and each of its requests asks Redis, so that its end holds at once.
//!
//! A link never allows more than the key that asked for it. The portal may be shown in a frame, and may lead back, only
//! to an origin that the setting `portal.embed_origins` lists. So a stolen key cannot send customers to another page.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{AccessError, Caller, InputFault, Refusal, error::all, new_token};
use crate::{
    config,
    domain::{
        account::AccountId,
        api_key::Scope,
        origin::WebOrigin,
        portal::{GUTTERS_MAX, Grant, PortalAccess, RADIUS_MAX, Theme, ThemeMode, is_label},
        time::timestamp,
        token::{Token, TokenHash},
    },
    store::{PortalLink, PortalRecord, Store, StoreError},
};

/// The life of a link.
const LINK_LIFE: Duration = Duration::from_secs(5 * 60);
/// The life of a session.
pub const SESSION_LIFE: Duration = Duration::from_secs(8 * 60 * 60);
/// The characters of a token's hash by which people name a session.
const ID_CHARS: usize = 12;

/// The portals of all accounts. Cheap to clone.
#[derive(Clone)]
pub struct Portal {
    store: Store,
    origins: Arc<[WebOrigin]>,
}

/// The input for a link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewLink {
    /// The visitor's access to webhooks.
    pub access: PortalAccess,
    /// Whether the visitor may read the envelopes of held and failed deliveries.
    #[serde(default)]
    pub payloads: bool,
    /// The platform's name for the visitor: 1 to 64 characters.
    pub user: Option<String>,
    /// The origin whose pages may show the portal in a frame. It must be in the setting `portal.embed_origins`.
    #[schema(example = "https://app.example.com")]
    pub embed_origin: Option<String>,
    /// The page to which the portal leads back. Its origin must be in the setting `portal.embed_origins`.
    #[schema(example = "https://app.example.com/settings")]
    pub return_url: Option<String>,
    /// The look of the portal.
    pub theme: Option<NewTheme>,
}

/// The look of the portal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTheme {
    /// The ground; `system` if it is absent.
    pub mode: Option<ThemeMode>,
    /// The colour of buttons and links: `#` and six hexadecimal digits. Where text in it would be hard to read, the
    /// portal uses the nearest readable shade.
    #[schema(example = "#3366ff")]
    pub accent: Option<String>,
    /// The same on a dark ground; `accent` if it is absent.
    pub accent_dark: Option<String>,
    /// The radius of corners in CSS pixels, 0 to 32.
    pub radius: Option<u64>,
    /// The space at the portal's sides in CSS pixels, 0 to 64.
    pub gutters: Option<u64>,
    /// The platform's name for its product: 1 to 64 characters.
    pub product_name: Option<String>,
}

/// A link that was made. Only this value has its token.
#[derive(Debug, Clone)]
pub struct Link {
    /// The token: 43 characters.
    pub token: SecretString,
    /// The time at which the link ends: RFC 3339, UTC, with milliseconds, by Redis's clock.
    pub expires_at: String,
}

/// A link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkNow {
    /// It can be entered. It has these rights and this look.
    Living(Grant),
    /// It was used, or has ended. It had these rights; its look and its way back still serve. A used link is known
    /// until its own end, and one that has ended until the account's portal changes.
    Spent(Grant),
    /// The account has no such link, or has none any longer.
    Unknown,
}

/// A living session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, by which people name it: the first 12 digits of its token's hash.
    pub id: String,
    /// Its rights and its look.
    pub grant: Grant,
    /// The time at which it ends: RFC 3339, UTC, with milliseconds, by Redis's clock.
    pub expires_at: String,
}

/// A living session as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(title = "Portal session")]
pub struct SessionView {
    /// Its id: 12 characters.
    pub id: String,
    /// The visitor's access to webhooks.
    pub access: PortalAccess,
    /// Whether the visitor may read payloads.
    pub payloads: bool,
    /// The platform's name for the visitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The origin that shows the portal in a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub embed_origin: Option<WebOrigin>,
    /// The time at which it ends: RFC 3339, UTC, with milliseconds, by Redis's clock.
    pub expires_at: String,
}

/// The sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichSession {
    /// All, and the links that were not used yet.
    All,
    /// The one with this id.
    One(String),
}

impl Portal {
    /// The portals in this store, with the setting `portal`.
    pub fn new(settings: &config::Portal, store: Store) -> Self {
        Self { store, origins: settings.embed_origins.clone().into() }
    }

    /// The origins that may show the portal in a frame.
    pub fn embed_origins(&self) -> &[WebOrigin] {
        &self.origins
    }

    /// Makes a link to an account's portal for the owner of a key. It opens one session within 5 min. An account has at
    /// most 100 links that were not used; the oldest are dropped beyond that.
    ///
    /// # Errors
    /// [`AccessError::Lacks`] and [`AccessError::OtherAccount`] if the key may make no link for this account;
    /// [`AccessError::Input`] with all faults.
    pub async fn new_link(&self, caller: &Caller, account: &AccountId, new: NewLink) -> Result<Link, AccessError> {
        if !caller.may(Scope::Portal) {
            return Err(AccessError::Lacks(Scope::Portal));
        }
        if !caller.may_touch(account) {
            return Err(AccessError::OtherAccount);
        }
        let grant = self.judge(caller, new)?;
        let token = new_token();
        let PortalRecord { until, .. } = self.store.add_portal_link(account, &token.hash(), &grant, LINK_LIFE).await?;
        tracing::info!(key = %caller.id, %account, fields = fields(&grant), "portal link made");
        Ok(Link { token: token.into_secret(), expires_at: timestamp(until) })
    }

    /// Judges a link as [`new_link`](Self::new_link) does, and makes none.
    ///
    /// # Errors
    /// [`AccessError::Input`] with all faults.
    pub fn judge_link(&self, caller: &Caller, new: NewLink) -> Result<(), AccessError> {
        self.judge(caller, new).map(drop)
    }

    /// A link of this account as it is now. Looking spends nothing.
    pub async fn link(&self, account: &AccountId, link: &str) -> Result<LinkNow, StoreError> {
        let Some(link) = Token::parse(link) else { return Ok(LinkNow::Unknown) };
        Ok(match self.store.portal_link(account, &link.hash()).await? {
            PortalLink::Living(record) => LinkNow::Living(record.grant),
            PortalLink::Spent(record) => LinkNow::Spent(record.grant),
            PortalLink::Unknown => LinkNow::Unknown,
        })
    }

    /// Takes a link and opens its session. Returns the session and its token. `None` if there is no such link for this
    /// account now, for which [`link`](Self::link) has the reason. Of 20 that enter at the same time, one gets the session. An
    /// account has at most 100 sessions; the oldest end beyond that.
    pub async fn enter(&self, account: &AccountId, link: &str) -> Result<Option<(Session, SecretString)>, StoreError> {
        let Some(link) = Token::parse(link) else { return Ok(None) };
        let token = new_token();
        let entered = self.store.enter_portal(account, &link.hash(), &token.hash(), SESSION_LIFE).await?;
        let Some(record) = entered else { return Ok(None) };
        let session = Session::new(token.hash().as_str(), record);
        tracing::info!(%account, session = session.id, "portal session began");
        Ok(Some((session, token.into_secret())))
    }

    /// The session with this token; `None` if the account has none, or it has ended.
    pub async fn session(&self, account: &AccountId, token: &str) -> Result<Option<Session>, StoreError> {
        let Some(token) = Token::parse(token) else { return Ok(None) };
        let hash: TokenHash = token.hash();
        let found = self.store.portal_session(account, &hash).await?;
        Ok(found.map(|record| Session::new(hash.as_str(), record)))
    }

    /// The living sessions of an account, in the order of their ends.
    pub async fn sessions(&self, account: &AccountId) -> Result<Vec<SessionView>, StoreError> {
        let found = self.store.portal_sessions(account).await?;
        Ok(found.into_iter().map(|(hash, record)| Session::new(&hash, record).into()).collect())
    }

    /// Ends sessions. Their next request is refused. Returns the number that ended.
    pub async fn end(&self, account: &AccountId, which: WhichSession) -> Result<u64, StoreError> {
        let hash = match &which {
            WhichSession::All => "",
            WhichSession::One(id) if is_session_id(id) => id,
            WhichSession::One(_) => return Ok(0),
        };
        let ended = self.store.end_portal_sessions(account, hash).await?;
        tracing::info!(%account, sessions = ended, "portal sessions ended");
        Ok(ended)
    }

    fn judge(&self, caller: &Caller, new: NewLink) -> Result<Grant, AccessError> {
        let mut faults = Vec::new();
        let mut refuse = |field, why| faults.push(InputFault { field, why });
        if new.access == PortalAccess::Manage && !caller.may(Scope::WebhooksWrite) {
            refuse("access", Refusal::Exceeds(Scope::WebhooksWrite));
        }
        if new.payloads && !caller.may(Scope::PayloadsRead) {
            refuse("payloads", Refusal::Exceeds(Scope::PayloadsRead));
        }
        if new.user.as_ref().is_some_and(|user| !is_label(user)) {
            refuse("user", Refusal::Label);
        }
        let embed = new.embed_origin.and_then(|text| match text.parse::<WebOrigin>() {
            Err(refusal) => {
                refuse("embedOrigin", refusal.into());
                None
            }
            Ok(origin) if !self.origins.contains(&origin) => {
                refuse("embedOrigin", Refusal::OtherOrigin);
                None
            }
            Ok(origin) => Some(origin),
        });
        let return_url = new.return_url.and_then(|text| match WebOrigin::of_page(&text) {
            None => {
                refuse("returnUrl", Refusal::ReturnUrl);
                None
            }
            Some((origin, _)) if !self.origins.contains(&origin) => {
                refuse("returnUrl", Refusal::OtherReturnUrl);
                None
            }
            Some((_, url)) => Some(url),
        });
        let theme = new.theme.map(|theme| judge_theme(theme, &mut refuse));
        all(faults)?;
        Ok(Grant { access: new.access, payloads: new.payloads, user: new.user, embed, theme, return_url })
    }
}

/// The theme. A value with a fault is refused, and left out.
fn judge_theme(new: NewTheme, refuse: &mut impl FnMut(&'static str, Refusal)) -> Theme {
    let mut colour = |field, text: Option<String>| {
        let judged = text.map(|text| text.parse()).transpose();
        judged.map_err(|refusal| refuse(field, Refusal::Colour(refusal))).ok().flatten()
    };
    let (accent, accent_dark) = (colour("theme.accent", new.accent), colour("theme.accentDark", new.accent_dark));
    let mut pixels = |field, pixels: Option<u64>, most, refusal| {
        let judged = pixels.map(|pixels| u8::try_from(pixels).ok().filter(|pixels| *pixels <= most));
        judged.and_then(|fit| {
            if fit.is_none() {
                refuse(field, refusal);
            }
            fit
        })
    };
    let radius = pixels("theme.radius", new.radius, RADIUS_MAX, Refusal::Radius);
    let gutters = pixels("theme.gutters", new.gutters, GUTTERS_MAX, Refusal::Gutters);
    if new.product_name.as_ref().is_some_and(|name| !is_label(name)) {
        refuse("theme.productName", Refusal::Label);
    }
    Theme { mode: new.mode.unwrap_or_default(), accent, accent_dark, radius, gutters, product_name: new.product_name }
}

impl Session {
    fn new(hash: &str, PortalRecord { grant, until }: PortalRecord) -> Self {
        Self { id: hash.chars().take(ID_CHARS).collect(), grant, expires_at: timestamp(until) }
    }
}

impl From<Session> for SessionView {
    fn from(Session { id, grant, expires_at }: Session) -> Self {
        let Grant { access, payloads, user, embed, .. } = grant;
        Self { id, access, payloads, user, embed_origin: embed, expires_at }
    }
}

fn is_session_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The names of the fields that a link has, for the log.
fn fields(grant: &Grant) -> String {
    let some = [
        (grant.user.is_some(), ", user"),
        (grant.embed.is_some(), ", embedOrigin"),
        (grant.return_url.is_some(), ", returnUrl"),
        (grant.theme.is_some(), ", theme"),
    ];
    let more = some.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name);
    ["access, payloads"].into_iter().chain(more).collect()
}
