//! Connections that a client opens: to whichever of a name's addresses answers first, through a proxy where one leads out.
//!
//! "Happy Eyeballs", RFC 8305, with these deviations: the system's resolver is asked once for both families and waited
//! for; and an attempt is over when TLS stands, not TCP, since a host that is stuck still accepts connections. So that
//! a busy coordinator is not asked twice by each silo, an address that has accepted gets more time than one that has not.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::explain::explain;
use crate::incoming::HANDSHAKE_TIME;
use crate::proxy::{Proxy, ProxyFault, Through};

/// RFC 8305's "Connection Attempt Delay".
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// The same, after an address that has accepted the connection and not spoken yet.
const NEXT_AFTER_ACCEPTED: Duration = Duration::from_millis(750);

/// What looks a name up: the addresses in the order of preference.
pub type Resolver = Arc<dyn Fn(String, u16) -> Resolving + Send + Sync>;
/// A name that is being looked up.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// How connections leave this machine.
#[derive(Clone)]
pub struct Outgoing {
    proxy: Proxy,
    resolver: Resolver,
    limit: Duration,
}

impl Outgoing {
    /// By this machine's name server, and through `proxy`.
    pub fn new(proxy: Proxy) -> Self {
        let resolver: Resolver = Arc::new(|host, port| {
            Box::pin(async move { Ok(lookup_host((host.as_str(), port)).await?.collect()) })
        });
        Self { proxy, resolver, limit: HANDSHAKE_TIME }
    }

    /// With another time within which a connection must stand: the name's look-up, all addresses and TLS.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// With another resolver than the machine's.
    #[must_use]
    pub fn resolving(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// The proxy on the way to `https://host:port`, if there is one.
    pub(crate) fn through(&self, host: &str, port: u16) -> io::Result<Option<Through>> {
        self.proxy.on_the_way_to(host, port).map_err(io::Error::other)
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The variable of the environment that names a proxy.
    pub(crate) fn variable(&self) -> Option<&'static str> {
        self.proxy.variable()
    }

    /// The addresses that are dialled for `host`, in the order in which they are.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = match host.parse() {
            Ok(literal) => vec![SocketAddr::new(literal, port)],
            Err(_) => (self.resolver)(host.to_owned(), port).await?,
        };
        Ok(interleaved(found))
    }

    /// A connection to `host` by name or address, that `secure` has made what it is to be.
    pub(crate) async fn open<T, F>(
        &self,
        host: &str,
        port: u16,
        secure: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send,
    {
        let end = Instant::now() + self.limit;
        let through = self.through(host, port)?;
        let (dialled, dialled_port) = match &through {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => (host.to_owned(), port),
        };
        let whom = through.as_ref().map_or_else(|| host.to_owned(), |proxy| format!("the proxy {proxy}"));
        let addresses = match timeout_at(end, self.addresses(&dialled, dialled_port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(Unresolved::of(&whom, &error.to_string())),
            Err(_) => return Err(Unresolved::of(&whom, "the name server does not answer")),
        };
        let to: Arc<(String, u16)> = Arc::new((host.to_owned(), port));
        let secure = Arc::new(secure);
        let attempt = move |address: SocketAddr, accepted: mpsc::UnboundedSender<SocketAddr>| {
            let (to, secure, through) = (Arc::clone(&to), Arc::clone(&secure), through.clone());
            async move {
                let stream = dial(address, through.as_ref(), &to.0, to.1, || {
                    let _ = accepted.send(address);
                });
                secure(stream.await?).await
            }
        };
        match race(addresses, end, attempt).await {
            Ok(stream) => Ok(stream),
            Err(fates) => Err(io::Error::other(Unreached { whom, limit: self.limit, fates })),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("proxy", &self.proxy).field("limit", &self.limit).finish()
    }
}

/// One connection to one address, which is the proxy's where there is one.
pub(crate) async fn dial(
    address: SocketAddr,
    through: Option<&Through>,
    host: &str,
    port: u16,
    accepted: impl FnOnce(),
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    accepted();
    if let Some(proxy) = through {
        proxy.tunnel(&mut stream, host, port).await?;
    }
    Ok(stream)
}

/// Alternates between the families, beginning with the one that is preferred; each address once.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let distinct = addresses.into_iter().filter(|address| seen.insert(*address));
    let (first, second): (Vec<_>, Vec<_>) = distinct.partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut merged = Vec::new();
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return merged;
        }
        merged.extend(pair.0.into_iter().chain(pair.1));
    }
}

/// What became of an address that is not connected.
#[derive(Debug)]
enum Fate {
    Failed(io::Error),
    /// It took the connection and said nothing.
    Mute,
    /// It did not even take it.
    Silent,
    /// Time ran out before its turn.
    Untried,
}

/// The first attempt that succeeds; the others are given up. Else what became of each.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    end: Instant,
    attempt: impl Fn(SocketAddr, mpsc::UnboundedSender<SocketAddr>) -> F,
) -> Result<T, Vec<(SocketAddr, Fate)>>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    // Ends with this future, and the attempts with it.
    let mut attempts = JoinSet::new();
    let (accepted, mut heard) = mpsc::unbounded_channel();
    let mut left = addresses.into_iter().peekable();
    let mut open: Vec<(SocketAddr, bool)> = Vec::new();
    let mut fates = Vec::new();
    let mut next_at = Instant::now();
    while left.peek().is_some() || !attempts.is_empty() {
        tokio::select! {
            // What has happened counts before what the clock says.
            biased;
            Some(ended) = attempts.join_next(), if !attempts.is_empty() => {
                // Nobody else ends an attempt, and none panics.
                let Ok((address, result)) = ended else { continue };
                open.retain(|(tried, _)| *tried != address);
                match result {
                    Ok(stream) => {
                        passed_over(address, &open);
                        return Ok(stream);
                    }
                    Err(error) => {
                        tracing::debug!(%address, "not connected: {}", explain(&error));
                        fates.push((address, Fate::Failed(error)));
                        next_at = Instant::now();
                    }
                }
            }
            Some(address) = heard.recv() => {
                open.iter_mut().filter(|(tried, _)| *tried == address).for_each(|(_, taken)| *taken = true);
                next_at = next_at.max(Instant::now() + NEXT_AFTER_ACCEPTED);
            }
            () = sleep_until(next_at), if left.peek().is_some() => {
                let Some(address) = left.next() else { continue };
                let connecting = attempt(address, accepted.clone());
                attempts.spawn(async move { (address, connecting.await) });
                open.push((address, false));
                next_at = Instant::now() + NEXT_AFTER;
            }
            () = sleep_until(end) => break,
        }
    }
    fates.extend(
        open.into_iter().map(|(address, taken)| (address, if taken { Fate::Mute } else { Fate::Silent })),
    );
    fates.extend(left.map(|address| (address, Fate::Untried)));
    Err(fates)
}

/// An address that costs every connection its time is worth a warning.
fn passed_over(connected: SocketAddr, open: &[(SocketAddr, bool)]) {
    for (address, taken) in open {
        let what = if *taken { "accepts connections and says nothing" } else { "does not answer" };
        tracing::warn!(
            %address,
            %connected,
            "one of the coordinator's addresses {what}, and another was taken: have it repaired, or taken out of the name \
             server's records"
        );
    }
}

/// No address of a name could be connected to. It reads as its explanation.
#[derive(Debug)]
pub(crate) struct Unreached {
    whom: String,
    limit: Duration,
    fates: Vec<(SocketAddr, Fate)>,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.limit.as_secs_f64();
        let described = |fate: &Fate| match fate {
            Fate::Failed(error) => explain(error),
            Fate::Mute => format!(
                "it accepts the connection and says nothing for {seconds} s: the server is stuck, or something else than a \
                 coordinator or a firewall answers in its place"
            ),
            Fate::Silent => {
                format!("no answer in {seconds} s: the host is down, or a firewall drops the packets")
            }
            Fate::Untried => format!("not tried within {seconds} s"),
        };
        match self.fates.as_slice() {
            [] => write!(f, "{} has no address: check the name server's records", self.whom),
            // What the proxy said names the proxy.
            [(_, Fate::Failed(error))] if said_by_proxy(error) => f.write_str(&explain(error)),
            [(address, fate)] => write!(f, "{} ({}, address {address})", described(fate), self.whom),
            many => {
                write!(f, "no address of {} answers as it must", self.whom)?;
                many.iter().try_for_each(|(address, fate)| write!(f, "; {address}: {}", described(fate)))
            }
        }
    }
}

impl Error for Unreached {}

fn said_by_proxy(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<ProxyFault>())
}

/// A name that has no addresses. It reads as its explanation.
#[derive(Debug)]
pub(crate) struct Unresolved(String);

impl Unresolved {
    fn of(whom: &str, why: &str) -> io::Error {
        io::Error::other(Self(format!(
            "the name of {whom} cannot be resolved ({why}): check its spelling and this machine's name server, such as \
             with `getent hosts`"
        )))
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unresolved {}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let [a, b, c] = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"].map(at);
        let [x, y] = ["192.0.2.1:1", "192.0.2.2:1"].map(at);
        assert_eq!(interleaved(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(interleaved(vec![x, y, x, a]), [x, a, y]);
        assert_eq!(interleaved(vec![]), []);
    }

    /// What an attempt does in a test: accept after, speak after; never where there is none.
    type Script = (SocketAddr, Option<u64>, Option<u64>);

    /// Who won, and after how many milliseconds.
    async fn raced(scripts: &[Script]) -> (Result<SocketAddr, Vec<(SocketAddr, Fate)>>, u128) {
        let since = Instant::now();
        let scripts = scripts.to_vec();
        let addresses = scripts.iter().map(|script| script.0).collect();
        let won = race(addresses, since + Duration::from_secs(5), |address, accepted| {
            let (_, accept, speak) = *scripts.iter().find(|script| script.0 == address).unwrap();
            async move {
                let wait = |after: Option<u64>| async move {
                    let forever = std::future::pending::<()>();
                    match after {
                        Some(ms) => drop(timeout(Duration::from_millis(ms), forever).await),
                        None => forever.await,
                    }
                };
                wait(accept).await;
                accepted.send(address).unwrap();
                wait(speak).await;
                Ok(address)
            }
        });
        let won = won.await;
        (won, since.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_a_quarter_of_a_second_after_a_silent_one() {
        let (dead, dead_too, good) = (at("[2001:db8::1]:1"), at("192.0.2.1:1"), at("192.0.2.2:1"));
        let (won, after) =
            raced(&[(dead, None, None), (dead_too, None, None), (good, Some(20), Some(30))]).await;
        assert_eq!((won.unwrap(), after), (good, 550));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_accepts_and_says_nothing_holds_up_the_next_for_less_than_a_second() {
        let (mute, good) = (at("192.0.2.1:1"), at("[2001:db8::1]:1"));
        let (won, after) = raced(&[(mute, Some(10), None), (good, Some(10), Some(10))]).await;
        assert_eq!((won.unwrap(), after), (good, 780));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_wins_where_the_next_is_slower() {
        let (slow, slower) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        let (won, after) = raced(&[(slow, Some(400), Some(300)), (slower, Some(1000), Some(0))]).await;
        assert_eq!((won.unwrap(), after), (slow, 700));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_answers_each_address_has_its_own_fate() {
        let (silent, mute) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        let (won, after) = raced(&[(silent, None, None), (mute, Some(0), None)]).await;
        let text =
            Unreached { whom: "fl.example".into(), limit: Duration::from_secs(5), fates: won.unwrap_err() };
        let text = text.to_string();
        assert_eq!(after, 5_000);
        assert!(text.contains("no address of fl.example"), "{text}");
        assert!(text.contains("192.0.2.1:1: no answer in 5 s"), "{text}");
        assert!(text.contains("192.0.2.2:1: it accepts the connection and says nothing"), "{text}");
    }
}
