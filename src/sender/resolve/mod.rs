//! Resolves a host name to addresses that may be dialled.
//!
//! Every address that is known when dialling begins is checked, IPv4 and IPv6. If one is refused, the name is refused.
//! Exactly the addresses in the answer are dialled, so that a name cannot change between the check and the connect.
//! Names are asked for as they are, absolute: neither search domains nor the hosts file turn one name into another.
//!
//! **One family alone.** If one family is answered with addresses, the other has a moment more ([`OTHER_FAMILY`]). A
//! later answer plays no part in this attempt: none of its addresses is dialled, so none needs to be checked. It is
//! kept, and checked with the next attempt.
//!
//! **Several name servers** are asked at once. The first that knows the name counts, even if others fail, refuse or
//! deny the name.
//!
//! **Whose fault is a failure?** If a question is never answered, or only with a failure or a refusal, something is
//! wrong with the name's zone, or with the name servers and the way to them. The first is the endpoint's fault, the
//! second is ours. It is the endpoint's fault if some name server gave a useful answer (that a name has something, or
//! does not exist) after the failure, the name was then asked for again in vain, and another useful answer came: so the
//! servers worked before and after that question. To get useful answers, probes are sent. They ask for the root, and
//! about the name that was found last, because some servers serve just a few zones and refuse the root. Cached answers
//! are no sign of life. If no useful answer comes within [`JUDGED_WITHIN`], the fault is ours until one comes.
//!
//! * `servers.rs` knows the name servers in use, and whether any answers usefully;
//! * `system.rs` reads the system's name servers;
//! * `sockets.rs` opens sockets, and notes the answers that arrive.

mod servers;
mod sockets;
mod system;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    time::Duration,
};

use hickory_resolver::{
    lookup::Lookup,
    net::{DnsError, NetError},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
};
use tokio::time::{Instant, sleep, timeout};

use self::servers::{Client, Servers};
use super::SenderError;
use crate::{
    config,
    domain::{
        address::{AllowList, judge_with},
        outcome::NetworkFault,
    },
};

/// The longest wait for the other family once one has addresses. RFC 8305, 3, has 50 ms, for people who wait; here it
/// is better to learn of a refused address among the later ones.
const OTHER_FAMILY: Duration = Duration::from_millis(250);

/// The time after which a question is given up. It is sent several times meanwhile, in case a packet is lost.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The time after which the second question is given up. It finds names at servers that take seconds to answer.
const AGAIN_TIMEOUT: Duration = Duration::from_millis(3500);
/// The time without any useful answer, while a name is asked for, after which no name server counts as answering.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// The same after the second question, and still within an attempt of 10 s.
const JUDGED_AGAIN_WITHIN: Duration = Duration::from_secs(9);
/// The time within which a working name server answers, if attempts are short.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// The time after which a probe is sent while a question is open; or a quarter of an attempt's time, if that is
/// shorter.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// The longest time of a lookup while no name server answers. Names with cached answers take less.
const WHILE_SILENT: Duration = Duration::from_millis(20);

/// The most addresses of each family that are dialled, although all are checked: an attempt has time for few.
const DIALLED_PER_FAMILY: usize = 8;

const NO_SERVER: &str = "no name server is configured";
const NO_ANSWER: &str = "no name server answers";

/// Looks names up and has their addresses checked.
pub struct Resolver {
    servers: Servers,
    allow: AllowList,
    probe_after: Duration,
}

/// The reason why a name has no address to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// An address was refused; the text says whose and why.
    #[error("{0}")]
    Refused(String),
    /// This machine could not ask.
    #[error("{0}")]
    Unable(&'static str),
    /// There is no name server, or none answers.
    #[error("{0}")]
    NoServer(&'static str),
    /// The lookup itself failed.
    #[error("{0}")]
    Failed(NetworkFault),
}

/// The answer for one family of addresses; `None` if the lookup did not wait for it.
type Found = Option<Result<Lookup, NetError>>;
type Asking = Pin<Box<dyn Future<Output = Result<Lookup, NetError>> + Send>>;

impl Resolver {
    /// A resolver that asks the servers in the settings, or the system's. `attempt` is the whole time of an attempt.
    pub fn new(dns: &config::Dns, allow: AllowList, attempt: Duration) -> Result<Self, SenderError> {
        let servers = Servers::new(&dns.servers, dns.resolv_conf.clone());
        let servers = servers.map_err(|error| SenderError::Dns(Box::new(error)))?;
        Ok(Self { servers, allow, probe_after: PROBE_AFTER.min(attempt / 4) })
    }

    /// The addresses to dial for `host`, in order, all of them checked; at least one.
    ///
    /// # Errors
    /// If the lookup failed, or if one address is not allowed, which refuses all of them.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) = self.look_up(host).await?;
        for address in v4.iter().chain(&v6) {
            judge_with(*address, &self.allow).map_err(|why| {
                LookupError::Refused(format!("refused to connect: {host} resolves to {address}; {why}"))
            })?;
        }
        Ok(in_turns(&v4, &v6))
    }

    /// Whether a lookup that an attempt's deadline ended is our fault, because no useful answer came since it began.
    pub(super) fn silent_since(&self, began: Instant) -> Option<&'static str> {
        let is_silent = !self.servers.sockets.heard_since(began);
        if is_silent && began.elapsed() >= HEARD_WITHIN {
            self.servers.note_silence();
        }
        is_silent.then_some(NO_ANSWER)
    }

    /// All IPv4 and all IPv6 addresses of `host`; at least one altogether.
    async fn look_up(&self, host: &str) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LookupError> {
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Ok((vec![Ipv4Addr::LOCALHOST.into()], Vec::new()));
        }
        let client = self.servers.client().ok_or(LookupError::NoServer(NO_SERVER))?;
        let Ok(mut name) = Name::from_ascii(host) else {
            let (host, reason) = (host.to_owned(), "not a valid DNS name".to_owned());
            return Err(LookupError::Failed(NetworkFault::LookupFailed { host, reason }));
        };
        name.set_fqdn(true);
        let began = Instant::now();
        if self.servers.are_silent() {
            let found = timeout(WHILE_SILENT, both(&client, &name, QUESTION_TIMEOUT, WHILE_SILENT / 2)).await;
            return match found {
                Ok(found) if !is_failure(&found) => self.conclude(host, &name, began, found),
                _ => {
                    self.servers.probe();
                    Err(LookupError::NoServer(NO_ANSWER))
                }
            };
        }
        let mut failed = [None, None];
        for (within, judged_within) in [(QUESTION_TIMEOUT, JUDGED_WITHIN), (AGAIN_TIMEOUT, JUDGED_AGAIN_WITHIN)] {
            let found = self.ask(&client, &name, within).await;
            let is_ours = self.servers.sockets.lacking_since(began).is_some();
            if !is_failure(&found) || is_ours {
                return self.conclude(host, &name, began, found);
            }
            if !self.servers.answer_by(began + judged_within).await {
                return Err(LookupError::NoServer(NO_ANSWER));
            }
            failed = found;
        }
        self.conclude(host, &name, began, failed)
    }

    /// Asks for both families, and sends a probe if that takes long.
    async fn ask(&self, client: &Client, name: &Name, within: Duration) -> [Found; 2] {
        let mut asking = Box::pin(both(client, name, within, OTHER_FAMILY));
        tokio::select! {
            found = &mut asking => return found,
            () = sleep(self.probe_after) => self.servers.probe(),
        }
        asking.await
    }

    /// The addresses that were found, or an error that says whose fault it is that there are none.
    fn conclude(
        &self,
        host: &str,
        name: &Name,
        began: Instant,
        found: [Found; 2],
    ) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LookupError> {
        let failures: Vec<&NetError> = failures(&found).collect();
        let is_busy = failures.iter().any(|error| matches!(error, NetError::Busy));
        let busy = is_busy.then_some("too many names are being looked up");
        let lacking = busy.or(self.servers.sockets.lacking_since(began));
        // If a family could not be asked for, it may be the one that leads to the endpoint.
        let is_open = failures.iter().any(|error| !error.is_no_records_found());
        if let Some(lacking) = lacking.filter(|_| is_open) {
            return Err(LookupError::Unable(lacking));
        }
        if let [v4, v6] = failures[..] {
            return Err(LookupError::Failed(absence(host, v4, v6)));
        }
        let [v4, v6] = found.map(|found| found.and_then(Result::ok).as_ref().map(addresses_in).unwrap_or_default());
        if v4.is_empty() && v6.is_empty() {
            return Err(LookupError::Failed(NetworkFault::NoAddress { host: host.to_owned() }));
        }
        self.servers.note_found(name);
        Ok((v4, v6))
    }
}

/// Asks for the addresses of both families. Once one has some, the other has `more` time.
async fn both(client: &Client, name: &Name, within: Duration, more: Duration) -> [Found; 2] {
    let family = |kind| -> Asking {
        let (client, name) = (client.clone(), name.clone());
        Box::pin(async move { client.lookup(name, kind, within).await })
    };
    let (mut v4, mut v6) = (family(RecordType::A), family(RecordType::AAAA));
    tokio::select! {
        found = &mut v4 => {
            let other = beside(&found, v6, more).await;
            [Some(found), other]
        }
        found = &mut v6 => {
            let other = beside(&found, v4, more).await;
            [other, Some(found)]
        }
    }
}

/// The answer for the other family, after one family was answered with `found`.
async fn beside(found: &Result<Lookup, NetError>, mut other: Asking, more: Duration) -> Found {
    if found.as_ref().is_ok_and(|found| !addresses_in(found).is_empty()) {
        let Ok(other) = timeout(more, &mut other).await else {
            // When this answer comes, it is kept for the next attempt.
            tokio::spawn(other);
            return None;
        };
        return Some(other);
    }
    Some(other.await)
}

/// Whether there is no address, perhaps only because of a failure.
fn is_failure(found: &[Found; 2]) -> bool {
    let has_addresses = |found: &Result<Lookup, _>| found.as_ref().is_ok_and(|found| !addresses_in(found).is_empty());
    !found.iter().flatten().any(has_addresses) && failures(found).any(|error| !error.is_no_records_found())
}

/// Whether no name server answered at all.
fn is_unanswered(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_) | NetError::Busy)
}

fn failures(found: &[Found; 2]) -> impl Iterator<Item = &NetError> {
    found.iter().flatten().filter_map(|found| found.as_ref().err())
}

/// The addresses of both families in turn (RFC 8305, 4), so that a family that leads nowhere costs little.
fn in_turns(v4: &[IpAddr], v6: &[IpAddr]) -> Vec<IpAddr> {
    (0..DIALLED_PER_FAMILY).flat_map(|nth| [v4.get(nth), v6.get(nth)]).flatten().copied().collect()
}

fn addresses_in(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The reason why both questions brought no address. A failure outweighs "there is none": an address may exist after
/// all.
fn absence(host: &str, v4: &NetError, v6: &NetError) -> NetworkFault {
    let host = host.to_owned();
    match [v4, v6].into_iter().find(|error| !error.is_no_records_found()) {
        Some(failure) => NetworkFault::LookupFailed { host, reason: reason(failure) },
        None if v4.is_nx_domain() || v6.is_nx_domain() => NetworkFault::NoSuchHost { host },
        None => NetworkFault::NoAddress { host },
    }
}

/// The name servers' behaviour, in a few words.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "the name server failed".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "the name server refused to answer".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered: {code}"),
        NetError::Timeout => "no answer from the name servers".to_owned(),
        NetError::NoConnections | NetError::Io(_) => "the name servers cannot be reached".to_owned(),
        NetError::Truncated => "the answer is too large".to_owned(),
        _ => "the name servers gave no usable answer".to_owned(),
    }
}
