//! One address, the one that the user named.

use std::time::Duration;

use super::{ImportFormat, MOST_BYTES};
use crate::request::prompts::PromptError;
use crate::text::{plain, short};

/// A page that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a source is an address and no file.
pub fn is_address(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Refuses an address that has a password.
pub(super) fn check(address: &str) -> Result<(), PromptError> {
    let authority = address.split('/').nth(2).unwrap_or_default();
    // It would stand in every prompt's source.
    if authority.contains('@') {
        let reason = "has a user or password in it, which would be written into the prompts; save the page instead";
        return Err(PromptError::whole(
            &plain(authority.rsplit('@').next().unwrap_or_default()),
            reason,
        ));
    }
    Ok(())
}

/// What the address answers, when that is a page or a text.
pub(super) fn get(address: &str) -> Result<(ImportFormat, Vec<u8>), PromptError> {
    let wrong = |reason: String| PromptError::whole(&plain(address), reason);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("ggufbench/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut answer = agent
        .get(address)
        .call()
        .map_err(|e| wrong(plain(&e.to_string())))?;
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let status = answer.status();
    if status.is_redirection() {
        let target = header("location").unwrap_or_else(|| "nowhere".to_owned());
        return Err(wrong(format!(
            "redirects to {}, which is not followed; name that address if you mean it",
            short(&target)
        )));
    }
    if !status.is_success() {
        return Err(wrong(format!(
            "answers with HTTP status {}",
            status.as_u16()
        )));
    }
    let said = header("content-type").unwrap_or_default();
    let kind = kind_of(&said).ok_or_else(|| {
        wrong(format!(
            "is '{}', neither HTML nor text",
            short(if said.is_empty() {
                "of unknown type"
            } else {
                &said
            })
        ))
    })?;
    // One more than allowed is asked for, to tell a full page from a cut one.
    let body = answer.body_mut().with_config().limit(MOST_BYTES + 1);
    let bytes = body.read_to_vec().map_err(|e| match e {
        ureq::Error::BodyExceedsLimit(_) => too_large(address),
        e => wrong(plain(&e.to_string())),
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(too_large(address));
    }
    Ok((kind, bytes))
}

fn too_large(address: &str) -> PromptError {
    let most = crate::units::bytes(MOST_BYTES);
    PromptError::whole(&plain(address), format!("larger than {most}"))
}

fn kind_of(content_type: &str) -> Option<ImportFormat> {
    let name = content_type.split(';').next().unwrap_or_default().trim();
    match name.to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => Some(ImportFormat::Page),
        "text/csv" => Some(ImportFormat::Csv),
        "application/json" => Some(ImportFormat::Json),
        "application/jsonl" | "application/x-ndjson" => Some(ImportFormat::Jsonl),
        "text/plain" | "text/markdown" => Some(ImportFormat::Text),
        _ => None,
    }
}
