//! Which certificates are trusted, and what is said of one that is not.
//!
//! Those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where one of them is set, else the system's; where the system has none,
//! Mozilla's, which are compiled in.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::CertificateError;
use rustls_native_certs::{CertificateResult, load_native_certs};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::text::plain;

/// The variables that name other certificates than the system's.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is trusted, and why some of what was named could not be read.
struct Trusted {
    roots: RootCerts,
    /// The variables that name them.
    named: Vec<String>,
    n_roots: usize,
    trouble: Option<String>,
}

/// Read once: it is some hundred certificates.
fn trusted() -> &'static Trusted {
    static TRUSTED: OnceLock<Trusted> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let named: Vec<&str> = VARIABLES.into_iter().filter(set).collect();
        of(load_native_certs(), &named)
    })
}

fn of(found: CertificateResult, named: &[&str]) -> Trusted {
    let roots: Vec<Certificate<'static>> = found
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    Trusted {
        n_roots: roots.len(),
        trouble: found.errors.first().map(|why| plain(&why.to_string())),
        named: named.iter().map(|name| (*name).to_owned()).collect(),
        // Where a variable names them, an empty list is meant or a mistake; either way no other is put in its place.
        roots: match roots.is_empty() && named.is_empty() {
            true => RootCerts::WebPki,
            false => RootCerts::Specific(Arc::new(roots)),
        },
    }
}

/// TLS as every connection uses it.
pub(super) fn config() -> TlsConfig {
    let roots = trusted().roots.clone();
    TlsConfig::builder().root_certs(roots).build()
}

/// What is wrong with the server's certificate and what to do, where an error of a connection is about that.
pub(super) fn certificate_words(error: &ureq::Error) -> Option<String> {
    let own = match error {
        ureq::Error::Rustls(own) => own,
        ureq::Error::Io(io) => rustls_error(io)?,
        _ => return None,
    };
    match own {
        rustls::Error::InvalidCertificate(why) => Some(words(why, trusted())),
        rustls::Error::NoCertificatesPresented => {
            Some("the server shows no certificate; give it one, or name it with http://".to_owned())
        }
        _ => None,
    }
}

/// Whether the other side does not speak TLS at all.
pub(super) fn is_without_tls(error: &ureq::Error) -> bool {
    let own = match error {
        ureq::Error::Rustls(own) => Some(own),
        ureq::Error::Io(io) => rustls_error(io),
        _ => None,
    };
    matches!(own, Some(rustls::Error::InvalidMessage(_)))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref() {
            return Some(own);
        }
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    None
}

fn words(why: &CertificateError, trusted: &Trusted) -> String {
    let whose = match (trusted.named.as_slice(), trusted.n_roots) {
        ([], _) => "the system's".to_owned(),
        (named, 0) => format!(
            "no certificate in PEM form was found in {}",
            named.join(" and ")
        ),
        (named, 1) => format!("the one in {}", named.join(" and ")),
        (named, n) => format!("the {n} in {}", named.join(" and ")),
    };
    let set =
        "set SSL_CERT_FILE to a PEM file with the certificate of the authority that signed it";
    let said = match why {
        CertificateError::UnknownIssuer => {
            format!("its authority is not among the trusted ones ({whose}): {set}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired: renew it, or set this machine's clock right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: set the clocks of both machines right".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name: use the name it is for in the address, or give it this one (subjectAltName)"
                .to_owned()
        }
        CertificateError::BadSignature => {
            format!("it is signed by another key than the trusted authority's of that name: {set}")
        }
        CertificateError::Revoked => "its authority has revoked it: the server needs a new one".to_owned(),
        // An authority's own certificate as the server's is what `openssl req -x509` makes.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
            "it is an authority's (CA:TRUE) and no server's: sign one for the server with it, then {set}; or make a \
             self-signed one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`, and name that"
        ),
        other => format!("{} ({whose} are trusted): {set}", plain(&other.to_string())),
    };
    let trouble = trusted.trouble.as_ref().map(|why| format!("; {why}"));
    format!(
        "the server's certificate is refused: {said}{}",
        trouble.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none_found() -> CertificateResult {
        CertificateResult::default()
    }

    #[test]
    fn without_any_certificate_of_the_system_mozillas_are_trusted() {
        assert!(matches!(of(none_found(), &[]).roots, RootCerts::WebPki));
        // A variable is meant: nothing is put in the place of what it names.
        let named = of(none_found(), &["SSL_CERT_FILE"]);
        assert!(matches!(named.roots, RootCerts::Specific(roots) if roots.is_empty()));
    }

    #[test]
    fn a_refused_certificate_is_called_that_with_its_remedy() {
        let all = [
            (
                CertificateError::UnknownIssuer,
                "set SSL_CERT_FILE to a PEM file",
            ),
            (CertificateError::Expired, "renew it"),
            (CertificateError::NotValidForName, "subjectAltName"),
            (CertificateError::NotValidYet, "clocks"),
            (CertificateError::BadEncoding, "SSL_CERT_FILE"),
        ];
        for (why, remedy) in all {
            let wrapped = io::Error::new(
                io::ErrorKind::InvalidData,
                io::Error::other(rustls::Error::InvalidCertificate(why)),
            );
            let said = certificate_words(&ureq::Error::Io(wrapped)).expect("about a certificate");
            assert!(
                said.contains("certificate") && said.contains(remedy),
                "{said}"
            );
            assert_eq!(said.lines().count(), 1);
        }
        let other = ureq::Error::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(certificate_words(&other), None);
        let trusted = of(none_found(), &["SSL_CERT_FILE"]);
        let said = words(&CertificateError::UnknownIssuer, &trusted);
        assert!(
            said.contains("no certificate in PEM form was found in SSL_CERT_FILE"),
            "{said}"
        );
    }
}
