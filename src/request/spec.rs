//! Who answers: targets as the user names them.
//!
//! Only hosts that stand here, or in `OLLAMA_HOST`, are ever talked to.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

use super::http::{ApiKey, Patience};
use super::ollama::OllamaTarget;
use super::openai::OpenaiTarget;
use super::{IN_PROCESS, Target, TargetError};
use crate::text::short;

/// What may stand after `--target`.
const FORMS: &str = "in-process, ollama:MODEL, ollama:MODEL@http://HOST:PORT or openai:http://HOST:PORT/v1, \
                     with #MODEL after it where a server has several";

/// Longest name of a target, bytes.
const MOST_BYTES: usize = 1024;

/// A target as the user names it; [`fmt::Display`] gives the same text back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetSpec {
    /// `in-process`: llama.cpp linked into this program.
    InProcess,
    /// `ollama:MODEL`, or `ollama:MODEL@http://HOST:PORT`.
    Ollama {
        /// The model by Ollama's name.
        model: String,
        /// Where; none: where `OLLAMA_HOST` says, as Ollama's own client takes it.
        url: Option<ServerUrl>,
    },
    /// `openai:http://HOST:PORT/v1`, `#MODEL` after it where the server has several.
    Openai {
        /// The address that `/completions` is put after.
        url: ServerUrl,
        /// The model by the server's name.
        model: Option<String>,
    },
}

/// A target that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target `{text}`: {reason}")]
pub struct SpecError {
    /// As typed, without a password.
    pub text: String,
    /// What is wrong, and what is right.
    pub reason: String,
}

impl TargetSpec {
    /// The server; none for the in-process target, which is a worker of the run's.
    ///
    /// `OLLAMA_HOST` and `OPENAI_API_KEY` are read here.
    ///
    /// # Errors
    /// [`TargetError::Unfit`] when `OLLAMA_HOST` is no address, or `OPENAI_API_KEY` no key.
    pub fn server(&self, patience: Patience) -> Result<Option<Box<dyn Target>>, TargetError> {
        let unfit = |reason| TargetError::Unfit {
            target: self.to_string(),
            reason,
        };
        let target: Box<dyn Target> = match self {
            Self::InProcess => return Ok(None),
            Self::Ollama { model, url } => {
                let url = match url {
                    Some(url) => url.clone(),
                    None => ollama_host(std::env::var("OLLAMA_HOST").ok().as_deref())
                        .map_err(|why| unfit(format!("OLLAMA_HOST: {why}")))?,
                };
                Box::new(OllamaTarget::new(self.to_string(), model, url, patience))
            }
            Self::Openai { url, model } => {
                let key = match std::env::var("OPENAI_API_KEY") {
                    Ok(text) if !text.trim().is_empty() => {
                        Some(ApiKey::new(&text).ok_or_else(|| {
                            unfit("OPENAI_API_KEY: holds what cannot stand in a header".into())
                        })?)
                    }
                    _ => None,
                };
                let model = model.as_deref();
                let name = self.to_string();
                Box::new(OpenaiTarget::new(name, model, url.clone(), key, patience))
            }
        };
        Ok(Some(target))
    }
}

/// The targets of a list such as `in-process,ollama:x`. A comma ends a target only where another one begins: a model's name, or an
/// address, may have one.
pub fn of_list(text: &str) -> Vec<String> {
    let begins = |rest: &str| {
        let rest = rest.trim_start();
        let is_whole = |word: &str| rest.split(',').next().map(str::trim) == Some(word);
        is_whole(IN_PROCESS) || ["ollama:", "openai:"].iter().any(|p| rest.starts_with(p))
    };
    let mut targets = vec![String::new()];
    for (nth, part) in text.split(',').enumerate() {
        match targets.last_mut() {
            Some(last) if nth > 0 && !begins(part) => {
                last.push(',');
                last.push_str(part);
            }
            Some(last) if nth == 0 => last.push_str(part),
            _ => targets.push(part.to_owned()),
        }
    }
    targets.iter().map(|t| t.trim().to_owned()).collect()
}

impl FromStr for TargetSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        parse(text.trim()).map_err(|reason| SpecError {
            text: crate::text::cut_middle(&crate::text::plain(&without_password(text)), 120),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<TargetSpec, String> {
    if text.len() > MOST_BYTES {
        return Err("too long".into());
    }
    if text == IN_PROCESS {
        return Ok(TargetSpec::InProcess);
    }
    if let Some(rest) = text.strip_prefix("ollama:") {
        let at = ["@http://", "@https://"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min();
        let (model, url) = match at {
            Some(at) => (&rest[..at], Some(ServerUrl::parse(&rest[at + 1..])?)),
            None => (rest, None),
        };
        if model.contains('@') {
            return Err("after the @ stands an address: ollama:MODEL@http://HOST:PORT".into());
        }
        let model = named_model(model, "ollama:llama3.1:8b")?;
        let beyond = ["/v1", "/api/generate", "/api/chat", "/api"];
        if let Some((far, right)) = url.as_ref().and_then(|url| goes_too_far(url, &beyond)) {
            return Err(format!(
                "Ollama's own protocol is asked for without {far}: ollama:{model}@{right}"
            ));
        }
        return Ok(TargetSpec::Ollama { model, url });
    }
    if let Some(rest) = text.strip_prefix("openai:") {
        let (url, model) = match rest.split_once('#') {
            Some((url, model)) => {
                let example = "openai:http://127.0.0.1:8080/v1#MODEL";
                // Files behind llama-server have blanks in their names.
                named_model(&model.replace(' ', "_"), example)?;
                (url, Some(model.trim().to_owned()))
            }
            None => (rest, None),
        };
        let url = ServerUrl::parse(url)?;
        if url.path().is_empty() {
            // At its root llama-server speaks a protocol of its own.
            return Err(format!(
                "the address lacks its path, which is /v1 for most servers: openai:{}",
                url.below("/v1")
            ));
        }
        goes_too_far(&url, &["/chat/completions", "/completions", "/models"]).map_or(
            Ok(()),
            |(far, right)| {
                Err(format!(
                    "the address goes up to what stands before {far}: openai:{right}"
                ))
            },
        )?;
        return Ok(TargetSpec::Openai { url, model });
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        let url = ServerUrl::parse(text)?;
        return Err(format!(
            "say which protocol it speaks: openai:{}, or ollama:MODEL@{}",
            if url.path().is_empty() {
                url.below("/v1")
            } else {
                url.to_string()
            },
            url.root()
        ));
    }
    Err(format!("write {FORMS}"))
}

/// What stands at an address's end and is put there by requests, and the address without it.
fn goes_too_far<'a>(url: &ServerUrl, ends: &[&'a str]) -> Option<(&'a str, String)> {
    let given = url.text.trim_end_matches('/');
    let right = |end: &&'a str| Some((*end, given.strip_suffix(end)?.to_owned()));
    ends.iter().find_map(right)
}

fn named_model(model: &str, example: &str) -> Result<String, String> {
    if model.is_empty() {
        return Err(format!("no model is named; write it like {example}"));
    }
    if model.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "a model's name has no blanks; write it like {example}"
        ));
    }
    Ok(model.to_owned())
}

/// The text with whatever could be a user and a password left out: all before the last `@`, but the scheme.
fn without_password(text: &str) -> String {
    let Some(last) = text.rfind('@') else {
        return text.to_owned();
    };
    let scheme = text.find("://").filter(|at| *at < last).map(|at| at + 3);
    let from = scheme.or_else(|| text.find(':').filter(|at| *at < last).map(|at| at + 1));
    format!("{}...{}", &text[..from.unwrap_or(0)], &text[last..])
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("in-process"),
            Self::Ollama { model, url: None } => write!(f, "ollama:{model}"),
            Self::Ollama {
                model,
                url: Some(url),
            } => write!(f, "ollama:{model}@{url}"),
            Self::Openai { url, model: None } => write!(f, "openai:{url}"),
            Self::Openai {
                url,
                model: Some(model),
            } => write!(f, "openai:{url}#{model}"),
        }
    }
}

/// The address of a server: `http` or `https`, a host, perhaps a port and a path. Never a user or a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
}

impl ServerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, in words that repeat no password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "an address is written like http://127.0.0.1:8080/v1";
        let uri: Uri = text.parse().map_err(|_| form.to_owned())?;
        let authority = uri.authority().ok_or_else(|| form.to_owned())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(format!("only http and https can be spoken; {form}"));
        }
        if text.contains('@') {
            return Err(
                "an address with a user or a password would stand in records; leave it out".into(),
            );
        }
        if authority.host().is_empty() {
            return Err(format!("no host; {form}"));
        }
        // A port that is no number is taken for none by the parser.
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(format!("the port is no number up to 65535; {form}"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("a query or a fragment has no place here; {form}"));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// The path without its last slash; empty for a bare host.
    fn path(&self) -> &str {
        let after = self.text.find("://").map_or(0, |at| at + 3);
        let from = self.text[after..].find('/').map(|at| after + at);
        from.map_or("", |from| self.text[from..].trim_end_matches('/'))
    }

    /// The address of what lies at `path` below this one.
    pub fn below(&self, path: &str) -> String {
        format!("{}{path}", self.text.trim_end_matches('/'))
    }

    /// This address without a last `/v1`: where servers keep what is not OpenAI's.
    pub fn root(&self) -> Self {
        let text = self.text.trim_end_matches('/');
        Self {
            text: text.strip_suffix("/v1").unwrap_or(text).to_owned(),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The address that Ollama's own client would take from `OLLAMA_HOST` (`envconfig.ConnectableHost`).
///
/// # Errors
/// When it is no address.
pub fn ollama_host(value: Option<&str>) -> Result<ServerUrl, String> {
    let value = value.unwrap_or("").trim().trim_matches(['"', '\'']);
    let (scheme, rest, default_port) = match value.split_once("://") {
        None => ("http", value, 11434),
        Some(("https", rest)) => ("https", rest, 443),
        Some((scheme, rest)) => (scheme, rest, 80),
    };
    let (host_port, path) = rest.split_once('/').unwrap_or((rest, ""));
    let bare_v6 = host_port.matches(':').count() > 1 && !host_port.contains('[');
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.contains(']') => {
            (host, port.parse().unwrap_or(default_port))
        }
        _ => (host_port, default_port),
    };
    // Where a server listens on every address, a client takes the loopback.
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" | "[::]" => "[::1]".to_owned(),
        v6 if bare_v6 => format!("[{v6}]"),
        other => other.to_owned(),
    };
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    ServerUrl::parse(&format!("{scheme}://{host}:{port}{slash}{path}"))
}

/// A target's name, fit to be shown: `openai:http://127.0.0.1:8080/v1` is `openai:127.0.0.1:8080`. What most addresses have in
/// common takes the room of other columns.
pub fn shown_target(name: &str) -> String {
    let Some(address) = name.strip_prefix("openai:http://") else {
        return short(name);
    };
    let (address, model) = match address.split_once('#') {
        Some((address, model)) => (address, format!("#{model}")),
        None => (address, String::new()),
    };
    let address = address.trim_end_matches('/');
    let address = address.strip_suffix("/v1").unwrap_or(address);
    short(&format!("openai:{address}{model}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_targets_ends_one_where_the_next_begins() {
        for (list, targets) in [
            ("in-process", &["in-process"][..]),
            (
                "in-process,ollama:x, openai:http://h:1/v1#a",
                &["in-process", "ollama:x", "openai:http://h:1/v1#a"],
            ),
            (
                "openai:http://h:1/v1#a,b,in-process",
                &["openai:http://h:1/v1#a,b", "in-process"],
            ),
            ("ollama:x,in-processes", &["ollama:x,in-processes"]),
            ("ollama:x,", &["ollama:x,"]),
            ("", &[""]),
        ] {
            assert_eq!(of_list(list), targets, "{list}");
        }
    }

    #[test]
    fn a_shown_target_keeps_what_tells_it_apart() {
        for (name, shown) in [
            ("in-process/t2", "in-process/t2"),
            ("ollama:m@http://h:1", "ollama:m@http://h:1"),
            ("openai:http://h:80/v1", "openai:h:80"),
            ("openai:http://h:80/v1/#a/b", "openai:h:80#a/b"),
            ("openai:http://h/api/v1", "openai:h/api"),
            ("openai:https://h/v1", "openai:https://h/v1"),
        ] {
            assert_eq!(shown_target(name), shown, "{name}");
        }
    }

    fn error(text: &str) -> String {
        text.parse::<TargetSpec>().unwrap_err().to_string()
    }

    #[test]
    fn names_give_their_text_back() {
        for text in [
            "in-process",
            "ollama:llama3.1:8b",
            "ollama:hf.co/someone/model-GGUF:Q4_K_M",
            "ollama:smollm2@http://10.0.0.7:11434",
            "ollama:m@https://example.org",
            "openai:http://127.0.0.1:8080/v1",
            "openai:http://[::1]:8080/v1/",
            "openai:https://example.org/openai/v1#meta/llama-3",
            "openai:http://127.0.0.1:8080/v1#my model.gguf",
        ] {
            assert_eq!(text.parse::<TargetSpec>().unwrap().to_string(), text);
        }
        let spec: TargetSpec = "ollama:a/b:c@http://h:1".parse().unwrap();
        let url = Some(ServerUrl::parse("http://h:1").unwrap());
        assert_eq!(
            spec,
            TargetSpec::Ollama {
                model: "a/b:c".into(),
                url
            }
        );
    }

    #[test]
    fn wrong_names_are_told_the_right_form() {
        assert!(error("llama-server").contains("write in-process, ollama:MODEL"));
        assert!(error("").contains("openai:http://HOST:PORT/v1"));
        assert!(error("ollama:").contains("no model is named; write it like ollama:llama3.1:8b"));
        assert!(error("ollama:a b").contains("no blanks"));
        assert!(error("openai:http://h:1/v1#").contains("no model is named"));
        assert!(error("openai:http://h:1/v1#a\tb").contains("no blanks"));
        assert!(error("openai:http://h:1/").ends_with("servers: openai:http://h:1/v1"));
        assert!(
            error("openai:http://h:1/v1/chat/completions/").ends_with(": openai:http://h:1/v1")
        );
        assert!(error("ollama:m@http://h:1/v1").ends_with("without /v1: ollama:m@http://h:1"));
        assert!(error("ollama:m@http://h:1/api/chat/").ends_with(": ollama:m@http://h:1"));
        assert!(error("openai:http://h:1/v1/models").ends_with(": openai:http://h:1/v1"));
        assert!(
            error("http://h:1/v1").contains("openai:http://h:1/v1, or ollama:MODEL@http://h:1")
        );
        assert!(error("http://h:1").contains("openai:http://h:1/v1, or ollama:MODEL@http://h:1"));
        assert!(error("openai:127.0.0.1:8080/v1").contains("like http://127.0.0.1:8080/v1"));
        assert!(error("openai:ftp://h/v1").contains("only http and https"));
        assert!(error("openai:http://h:99999/v1").contains("port"));
        assert!(error("openai:http://h:/v1").contains("port"));
        assert!(error("openai:http://h/v1?a=b").contains("query"));
        assert!(error("openai:http:///v1").contains("like http://127.0.0.1:8080/v1"));
        assert!(
            error("openai:http://127.0.0.1:8080").contains("openai:http://127.0.0.1:8080/v1"),
            "the remedy is spelled out"
        );
        assert!(error(&format!("ollama:{}", "x".repeat(2000))).contains("too long"));
        assert!(!error("ollama:a\x1b[31m b").contains('\x1b'));
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for text in [
            "openai:http://me:secret@h/v1",
            "openai:http://me:sec/ret@h/v1",
            "ollama:m@http://me:secret@h:11434",
            "openai:http://secret@h/v1#m",
            "openai:gopher://me:secret@h",
            "openai:me:secret@h/v1",
            "ollama:m@me:secret@h",
        ] {
            let error = text.parse::<TargetSpec>().unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("sec") && !shown.contains("ret@"), "{shown}");
            }
        }
    }

    #[test]
    fn addresses_are_put_together() {
        let url = ServerUrl::parse("http://127.0.0.1:8080/v1/").unwrap();
        assert_eq!(url.below("/models"), "http://127.0.0.1:8080/v1/models");
        assert_eq!(url.root().below("/props"), "http://127.0.0.1:8080/props");
        let other = ServerUrl::parse("https://h/api").unwrap();
        assert_eq!(other.root().below("/props"), "https://h/api/props");
    }

    #[test]
    fn ollama_host_means_what_it_means_to_ollama() {
        let host = |value: &str| ollama_host(Some(value)).unwrap().to_string();
        assert_eq!(
            ollama_host(None).unwrap().to_string(),
            "http://127.0.0.1:11434"
        );
        assert_eq!(host(""), "http://127.0.0.1:11434");
        assert_eq!(host("0.0.0.0"), "http://127.0.0.1:11434");
        assert_eq!(host("0.0.0.0:8000"), "http://127.0.0.1:8000");
        assert_eq!(host(":8000"), "http://127.0.0.1:8000");
        assert_eq!(host("box.lan"), "http://box.lan:11434");
        assert_eq!(host("http://box.lan"), "http://box.lan:80");
        assert_eq!(host("https://box.lan/"), "https://box.lan:443");
        assert_eq!(
            host("https://box.lan:1/ollama/"),
            "https://box.lan:1/ollama"
        );
        assert_eq!(host("[::1]:5"), "http://[::1]:5");
        assert_eq!(host("::1"), "http://[::1]:11434");
        assert_eq!(host("[::]"), "http://[::1]:11434");
        assert_eq!(host("\"127.0.0.1:7\""), "http://127.0.0.1:7");
        assert_eq!(host("127.0.0.1:port"), "http://127.0.0.1:11434");
        assert!(ollama_host(Some("ftp://h")).is_err());
        let secret = ollama_host(Some("http://me:secret@h:1")).unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }
}
