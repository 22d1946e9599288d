//! A server whose certificate somebody has verified, and sessions with it.
//!
//! Verifying a chain is left to who did it before, Python's `ssl`, that is OpenSSL: whatever it accepts or refuses, for
//! whatever reason, in whichever release.  webpki differs from it in both directions: it knows no key usages, lets
//! roots expire, has no `X509_V_FLAG_X509_STRICT`; and it refuses names that are only in the common name.  So a
//! session is only begun with a server whose certificate OpenSSL has just accepted for the same name, and only with
//! the owner of that very certificate: the handshake's signature is verified here.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::Session;

/// Servers behind one name may each have a certificate of their own; of more than these the oldest is forgotten.
const KNOWN_MAX: usize = 16;

/// A name, and what is known of who has it.  Its sessions are resumed.
pub struct Peer {
    name: ServerName<'static>,
    known: Arc<Known>,
    configuration: Arc<ClientConfig>,
}

/// Accepts the certificates that it knows, as they are.
#[derive(Debug)]
struct Known {
    name: ServerName<'static>,
    certificates: Mutex<Vec<CertificateDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Peer {
    /// # Errors
    /// A name that is none.
    pub fn new(name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let provider = ring::default_provider();
        let known = Arc::new(Known {
            name: name.clone(),
            certificates: Mutex::default(),
            algorithms: provider.signature_verification_algorithms,
        });
        let mut configuration = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Known>::clone(&known))
            .with_no_client_auth();
        configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { name, known, configuration: Arc::new(configuration) })
    }

    /// `certificate` (DER) has been verified for this name.  Whether that is news.
    pub fn vouch(&self, certificate: &[u8]) -> bool {
        let mut known = self.known.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|one| one.as_ref() == certificate) {
            return false;
        }
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(CertificateDer::from(certificate.to_vec()));
        true
    }

    /// A session that has its first message to send.
    ///
    /// # Errors
    /// Where the library cannot begin.
    pub fn connect(&self) -> io::Result<Session> {
        let configuration = Arc::clone(&self.configuration);
        let connection =
            UnbufferedClientConnection::new(configuration, self.name.clone()).map_err(io::Error::other)?;
        Session::new(connection)
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if *server_name == self.name && known.contains(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
