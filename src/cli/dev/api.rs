//! The demonstration's API and settings screen: the server as in production, a key that may do everything, and a link.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::home::{FOLDER, Home};
use crate::{
    access::{ApiKeys, NewKey, NewLink, Portal},
    config::Settings,
    domain::{
        account::AccountId,
        api_key::{Scope, Scopes},
        portal::PortalAccess,
    },
    secrets::Vault,
    server::Server,
    store::Store,
};

/// The file with the key, which is made once.
pub(super) const KEY_FILE: &str = "api.key";

/// A server that runs.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    pub(super) key: SecretString,
    /// A link to the settings screen of the first account, which opens once.
    pub(super) link: String,
    pub(super) serving: JoinHandle<()>,
}

impl Api {
    /// Serves the API, and the settings screen of this account, until `stop` is cancelled.
    pub(super) async fn start(
        home: &Home,
        account: &AccountId,
        settings: &Settings,
        store: Store,
        vault: Vault,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let keys = ApiKeys::new(store.clone());
        let key = key(home, &keys).await?;
        let caller = keys.authenticate(key.expose_secret()).await?;
        let portal = Portal::new(&settings.portal, store.clone());
        let server = Server::open(settings, store, vault, stop).await?;
        let address = server.address()?;
        let new = NewLink {
            access: PortalAccess::Manage,
            payloads: true,
            user: None,
            embed_origin: None,
            return_url: None,
            theme: None,
        };
        let link = portal.new_link(&caller, account, new).await?.token;
        let link = format!("http://{address}/accounts/{account}/enter?link={}", link.expose_secret());
        Ok(Self { address, key, link, serving: tokio::spawn(server.serve()) })
    }
}

/// The key of the last run, or a new one if that is gone.
async fn key(home: &Home, keys: &ApiKeys) -> anyhow::Result<SecretString> {
    let path = home.path(KEY_FILE);
    if let Ok(last) = fs::read_to_string(&path)
        && keys.authenticate(last.trim()).await.is_ok()
    {
        return Ok(SecretString::from(last.trim()));
    }
    let new =
        NewKey { name: "dev".to_owned(), scopes: Scopes::from_iter([Scope::Admin]), account: None, expires: None };
    let key = keys.add(new).await?.key;
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    opened
        .and_then(|mut file| writeln!(file, "{}", key.expose_secret()))
        .with_context(|| format!("cannot write {FOLDER}/{KEY_FILE}"))?;
    Ok(key)
}
