//! A federation whose silos and administrator reach their coordinator only through an HTTP proxy.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::trust::Trust;

/// A name that no name server has: whoever dials it directly gets nowhere.
const NAME: &str = "coordinator.folkmoot.invalid:7440";

/// Does CONNECT, to one address whatever it is called; gives its own address and what it was asked for.
fn proxy(coordinator: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (coordinator, heard) = (coordinator.clone(), Arc::clone(&heard));
            // A connection that ends is no fault of the proxy.
            thread::spawn(move || stream.and_then(|stream| pass(stream, &coordinator, &heard)));
        }
    });
    (address, asked)
}

fn pass(mut client: TcpStream, coordinator: &str, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(line);
    let Ok(mut server) = TcpStream::connect(coordinator) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upward = thread::spawn(move || {
        let _ = copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    let _ = copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = upward.join();
    Ok(())
}

#[test]
fn a_whole_run_is_enrolled_and_committed_through_a_proxy_that_alone_leads_out() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (proxy, asked) = proxy(address.clone());
    let trust = Trust::prepared(address, Some(NAME.into()), Some(format!("http://{proxy}")), 3);
    let _coordinator = trust.coordinator();
    trust.enrol(&[1, 2, 3]);
    let before = asked.lock().unwrap().len();
    let _silos = [1, 2, 3].map(|id| trust.silo(id));
    let status = trust.status_until("the end of the run", |status| !status["ended"].is_null());
    // Rounds are given up until silos have cosigned the log; none of that is the proxy's.
    assert_eq!(status["rounds_committed"], 3, "{status}");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|line| *line == format!("CONNECT {NAME} HTTP/1.1")), "{asked:?}");
    assert!(asked.len() >= before + 3, "three daemons, each with a connection of its own: {asked:?}");
}
