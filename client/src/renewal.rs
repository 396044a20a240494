//! The silo's certificate lasts a day; this task renews it at two thirds of that.

use std::time::Duration;

use daemon::now_s;
use pki::{ClientTls, Leaf, TransportKey};
use rand::rngs::SysRng;
use rand_core::{Rng, UnwrapErr};
use tonic::transport::Channel;
use wire::v1::enrolment_client::EnrolmentClient;
use wire::{Backoff, v1};

use crate::link::said;
use crate::patience::within;
use crate::transport::Transport;

/// Between two looks at the clock: it may be set, or stand still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(30);
const RETRY_LONGEST: Duration = Duration::from_secs(600);

/// Renews for as long as the daemon runs, or until the certificate has expired.
pub(crate) async fn keep(mut transport: Transport, channel: Channel) {
    loop {
        let Leaf { not_before_s, not_after_s, .. } = transport.leaf;
        let due = pki::renew_at(not_before_s, not_after_s, UnwrapErr(SysRng).next_u64());
        while now_s() < due {
            tokio::time::sleep(LOOK.min(Duration::from_secs(due.saturating_sub(now_s())))).await;
        }
        let mut backoff = Backoff::new(RETRY_LONGEST);
        while let Err(why) = renew(&mut transport, channel.clone()).await {
            if now_s() >= not_after_s {
                tracing::error!(
                    "the certificate has expired and was not renewed: {why}; run `folkmoot-client enroll` again with the \
                     same folder and token, as the user that the daemon runs as, and start again"
                );
                return;
            }
            let wait = backoff.wait();
            tracing::warn!(
                retry_in_ms = wait.as_millis() as u64,
                expires_in_s = not_after_s.saturating_sub(now_s()),
                "the certificate is not renewed yet: {why}"
            );
            tokio::time::sleep(wait).await;
        }
        tracing::info!(until_s = transport.leaf.not_after_s, "the certificate is renewed");
    }
}

async fn renew(transport: &mut Transport, channel: Channel) -> Result<(), String> {
    let key = TransportKey::generate().map_err(|why| why.to_string())?;
    let certificate_request = key.request_der().map_err(|why| why.to_string())?;
    let mut enrolment = EnrolmentClient::new(channel);
    let renewed = within(ANSWER, enrolment.renew(v1::RenewRequest { certificate_request })).await;
    let chain = renewed.map_err(|why| said(&why))?.into_inner().chain;
    let leaf = pki::inspect(&chain).map_err(|why| why.to_string())?;
    if leaf.subject != transport.leaf.subject || leaf.not_after_s <= transport.leaf.not_after_s {
        return Err("the coordinator sent somebody else's certificate, or one that ends no later".into());
    }
    // Looked at before the old pair is given up.
    ClientTls::new(&transport.authority.ca_certificate, Some((&chain, &key)))
        .map_err(|why| why.to_string())?;
    let files = transport.files.clone();
    tokio::task::block_in_place(|| files.replace(&chain, &key))?;
    transport.tls.replace(&chain, &key).map_err(|why| why.to_string())?;
    transport.leaf = leaf;
    Ok(())
}
