//! What a server's operator reads of a refused connection. In a program of its own, since a log belongs to a process.

mod federation;

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use federation::{Coordinator, DAY_S, Federation, check, now_s, silo};
use tonic::transport::Endpoint;

/// What the process logged since the first call.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    })
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_expired_client_is_refused_and_both_sides_say_so() {
    let log = log();
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let late = federation.issue_at(&silo(1), &[], now_s() - 2 * DAY_S);
    let error = coordinator.call(&federation.client_tls(Some(&late))).await.unwrap_err();
    assert!(error.contains("our certificate has expired"), "{error}");
    let text = log.text();
    assert!(text.contains("INFO") && text.contains("peer=127.0.0.1:"), "{text}");
    assert!(text.contains("certificate has expired: it was valid until"), "{text}");
}

#[tokio::test]
async fn plain_text_to_a_tls_port_is_explained_on_both_sides() {
    let log = log();
    let federation = Federation::new();
    let coordinator = Coordinator::serve(federation.server_tls(&federation.coordinator())).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", coordinator.address)).unwrap();
    let error = match endpoint.connect().await {
        Ok(channel) => check(channel).await.unwrap_err(),
        Err(error) => pki::explain(&error),
    };
    assert!(error.contains("TLS"), "{error}");
    assert!(log.text().contains("the other end does not speak TLS"), "{}", log.text());
}
