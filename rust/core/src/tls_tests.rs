use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::peer::Peer;
use super::*;
use crate::intake::{End, Intake, Receiver};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
const NAME: &str = "images.example";
const NEXT: &[u8] = b"the next answer";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// What a server shows, and the key that it signs with.
#[derive(Debug, Clone)]
struct Identity(Arc<CertifiedKey>);

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        Self::of(made.cert.der().clone(), made.signing_key.serialize_der())
    }

    fn of(certificate: CertificateDer<'static>, key: Vec<u8>) -> Self {
        let key = PrivateKeyDer::Pkcs8(key.into());
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        Self(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }

    fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.cert[0]
    }

    /// Accepted by a client that knows the certificate.
    fn peer(&self) -> Peer {
        let peer = Peer::new(NAME).unwrap();
        assert!(peer.vouch(self.certificate()));
        peer
    }

    fn server(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        Arc::new(configuration)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A connection after its handshake, both ends of it.
struct Pair {
    session: Arc<Session>,
    ours: UnixStream,
    server: ServerConnection,
    theirs: UnixStream,
}

/// Both sides' messages back and forth until nobody has any more to say.
fn shake(peer: &Peer, configuration: &Arc<ServerConfig>) -> Result<Pair, String> {
    let session = peer.connect().map_err(|error| error.to_string())?;
    let mut server = ServerConnection::new(Arc::clone(configuration)).unwrap();
    loop {
        let ours = session.outgoing();
        let mut rest = ours.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
        let mut theirs = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut theirs).unwrap();
        }
        if ours.is_empty() && theirs.is_empty() {
            break;
        }
        match session.received(&theirs) {
            Ok(plain) => assert!(plain.is_empty()),
            Err(error) => {
                server.read_tls(&mut &*session.outgoing()).unwrap();
                let heard = server.process_new_packets().err();
                assert!(matches!(heard, Some(rustls::Error::AlertReceived(_))), "{heard:?}");
                return Err(error.to_string());
            }
        }
    }
    assert!(session.is_ready());
    let (ours, theirs) = UnixStream::pair().unwrap();
    Ok(Pair { session: Arc::new(session), ours, server, theirs })
}

fn pair(version: &'static SupportedProtocolVersion) -> Pair {
    let identity = Identity::new();
    shake(&identity.peer(), &identity.server(version)).unwrap()
}

impl Pair {
    /// What is sent when the server writes `data`.
    fn records(&mut self, mut data: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        while !data.is_empty() {
            let written = self.server.writer().write(data).unwrap();
            data = &data[written..];
            self.flush(&mut records);
        }
        records
    }

    fn flush(&mut self, records: &mut Vec<u8>) {
        while self.server.wants_write() {
            self.server.write_tls(records).unwrap();
        }
    }

    /// Sends it in pieces of `piece` bytes, then closes if so wanted, while a worker reads a body of `length` bytes.
    fn body(&self, records: Vec<u8>, piece: usize, length: usize, closes: bool) -> (Vec<u8>, End) {
        let intake = Intake::new().unwrap();
        let receiver = Arc::new(Receiver::new(&Arc::default()));
        let session = Some(Arc::clone(&self.session));
        let number = intake.pour(self.ours.as_fd(), session, &receiver, 7, length as u64).unwrap();
        let mut sender = self.theirs.try_clone().unwrap();
        let sending = thread::spawn(move || {
            for part in records.chunks(piece) {
                // The other side may have had enough.
                let _ = sender.write_all(part);
            }
            if closes {
                sender.shutdown(std::net::Shutdown::Both).unwrap();
            }
        });
        let mut had = Vec::new();
        while intake.is_open() {
            let ready = intake.wait(PATIENCE).expect("bytes or an end in time");
            intake.read(ready, |_, offset, data| {
                assert_eq!(offset, had.len() as u64);
                had.extend_from_slice(&data);
            });
        }
        sending.join().unwrap();
        let ended = intake.ended();
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].0, number);
        (had, ended[0].1)
    }

    /// What the event loop reads after a body: as much as `length` bytes, and no more.
    fn after(&mut self, length: usize) -> Vec<u8> {
        let mut had = self.session.received(&[]).unwrap();
        while had.len() < length {
            let mut buffer = vec![0; 1 << 16];
            let read = self.ours.read(&mut buffer).unwrap();
            assert!(read > 0, "closed");
            had.extend(self.session.received(&buffer[..read]).unwrap());
        }
        had
    }

    /// What the server understands of records of ours.
    fn heard(&mut self, mut records: &[u8]) -> Vec<u8> {
        let mut had = Vec::new();
        while !records.is_empty() {
            self.server.read_tls(&mut records).unwrap();
            self.server.process_new_packets().unwrap();
            let mut buffer = vec![0; 1 << 16];
            if let Ok(length) = self.server.reader().read(&mut buffer) {
                had.extend_from_slice(&buffer[..length]);
            }
        }
        had
    }
}

#[test]
fn a_body_comes_whole_and_what_follows_it_is_the_event_loops() {
    for version in VERSIONS {
        // Records of all kinds of lengths end where the body does, or not.
        for (length, piece) in
            [(3_000_000, 1 << 20), (700_001, 4093), (16_384, 100), (1, 1), (40_000, 40_100)]
        {
            let mut pair = pair(version);
            let data = pattern(length);
            let records = pair.records(&[&data, NEXT].concat());
            let (had, end) = pair.body(records, piece, length, false);
            assert_eq!(end, End::Complete);
            assert!(had == data);
            assert_eq!(pair.after(NEXT.len()), NEXT);
        }
    }
}

#[test]
fn what_the_session_has_already_comes_first() {
    let mut pair = pair(&version::TLS13);
    let data = pattern(100_000);
    let records = pair.records(&[&data[..70_000], NEXT].concat());
    // Leaves most of it in the session, decrypted or not, and nothing in the socket.
    let (had, end) = pair.body(records, 1 << 20, 1000, false);
    assert_eq!((had.as_slice(), end), (&data[..1000], End::Complete));
    assert!(pair.session.is_pending());
    let (had, end) = pair.body(Vec::new(), 1, 69_000, false);
    assert!(had == data[1000..70_000]);
    assert_eq!(end, End::Complete);
    assert_eq!(pair.after(NEXT.len()), NEXT);
}

#[test]
fn records_of_a_single_byte_and_a_request_between_bodies() {
    for version in VERSIONS {
        let mut pair = pair(version);
        let data = pattern(5000);
        let records: Vec<u8> = data.chunks(1).flat_map(|byte| pair.records(byte)).collect();
        let (had, end) = pair.body(records, 1 << 16, data.len(), false);
        assert_eq!((had == data, end), (true, End::Complete));
        let request = pattern(50_000);
        let sent = pair.session.encrypt(&request).unwrap();
        assert!(pair.heard(&sent) == request);
    }
}

#[test]
fn new_keys_in_the_middle_of_a_body_are_used_by_both_sides() {
    let mut pair = pair(&version::TLS13);
    let data = pattern(600_000);
    let mut records = Vec::new();
    for part in data.chunks(100_000) {
        records.extend(pair.records(part));
        pair.server.refresh_traffic_keys().unwrap();
        pair.flush(&mut records);
    }
    let (had, end) = pair.body(records, 1 << 16, data.len(), false);
    assert_eq!((had == data, end), (true, End::Complete));
    // A worker has seen them, and what is sent after that is the event loop's.
    let sent = pair.session.encrypt(b"GET / HTTP/1.1").unwrap();
    assert_eq!(pair.heard(&sent), b"GET / HTTP/1.1");
    let records = pair.records(NEXT);
    assert_eq!(pair.session.received(&records).unwrap(), NEXT);
}

#[test]
fn an_end_before_the_bodys_is_no_complete_body() {
    for version in VERSIONS {
        // Without a word, in the middle of a record.
        let mut cut = pair(version);
        let records = cut.records(&pattern(100_000));
        let half = records[..records.len() / 2].to_vec();
        let (had, end) = cut.body(half, 1 << 16, 100_000, true);
        assert_eq!(end, End::Closed);
        assert!(had.len() < 100_000 && had == pattern(had.len()));
        // And with one.
        let mut polite = pair(version);
        let mut records = polite.records(&pattern(50_000));
        polite.server.send_close_notify();
        polite.flush(&mut records);
        let (had, end) = polite.body(records, 1 << 16, 100_000, false);
        assert_eq!((had == pattern(50_000), end), (true, End::Closed));
        assert!(polite.session.is_closed());
    }
}

#[test]
fn a_flipped_bit_ends_the_body_after_what_came_before_it() {
    for version in VERSIONS {
        let mut pair = pair(version);
        let mut records = pair.records(&pattern(100_000));
        let last = records.len() - 1;
        records[last - 5000] ^= 1;
        let (had, end) = pair.body(records, 1 << 20, 100_000, false);
        assert_eq!(end, End::Garbled);
        assert!(had.len() < 100_000 && had == pattern(had.len()));
        assert!(pair.session.received(&[]).is_err());
        assert!(pair.session.encrypt(b"GET").is_err());
    }
}

#[test]
fn a_body_that_ends_with_the_session_is_complete() {
    let mut pair = pair(&version::TLS13);
    let mut records = pair.records(&pattern(50_000));
    pair.server.send_close_notify();
    pair.flush(&mut records);
    let (had, end) = pair.body(records, 1 << 16, 50_000, true);
    assert_eq!((had == pattern(50_000), end), (true, End::Complete));
    assert!(pair.session.received(&[]).unwrap().is_empty());
    assert!(pair.session.is_closed());
}

#[test]
fn the_last_word_is_understood() {
    let mut pair = pair(&version::TLS13);
    let farewell = pair.session.farewell();
    pair.server.read_tls(&mut &*farewell).unwrap();
    assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_certificate_that_nobody_has_verified_is_refused() {
    for version in VERSIONS {
        let (known, other) = (Identity::new(), Identity::new());
        let error = shake(&known.peer(), &other.server(version)).err().unwrap();
        assert!(error.contains("certificate"), "{error}");
        assert!(shake(&Peer::new(NAME).unwrap(), &other.server(version)).is_err());
    }
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    for version in VERSIONS {
        let (known, other) = (Identity::new(), rcgen::KeyPair::generate().unwrap());
        let thief = Identity::of(known.certificate().clone(), other.serialize_der());
        let error = shake(&known.peer(), &thief.server(version)).err().unwrap();
        assert!(error.contains("BadSignature"), "{error}");
    }
}

#[test]
fn each_of_several_known_certificates_will_do_and_the_oldest_is_forgotten() {
    let identities: Vec<Identity> = (0..17).map(|_| Identity::new()).collect();
    let peer = Peer::new(NAME).unwrap();
    for identity in &identities {
        assert!(peer.vouch(identity.certificate()));
    }
    assert!(!peer.vouch(identities[16].certificate()));
    assert!(shake(&peer, &identities[0].server(&version::TLS13)).is_err());
    for identity in &identities[1..] {
        assert!(shake(&peer, &identity.server(&version::TLS13)).is_ok());
    }
}

#[test]
fn the_second_session_takes_the_first_up_again() {
    for version in VERSIONS {
        let identity = Identity::new();
        let (peer, server) = (identity.peer(), identity.server(version));
        let first = shake(&peer, &server).unwrap();
        assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
        let second = shake(&peer, &server).unwrap();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}
