//! A server with OpenAI's completions (llama-server, vLLM): `/completions` and `/chat/completions`, as server-sent
//! events.

mod ask;
pub(super) mod events;
mod models;

use serde_json::Value;

use super::exchange::serve;
use super::http::{ApiKey, Client, HttpError, Patience, shortened};
use super::ready::not_ready;
use super::redact;
use super::spec::ServerUrl;
use super::{Job, Served, Target, TargetError, TargetFacts, TargetKind};
use ask::Openai;
use models::{Chosen, choose};

/// A server and one of its models.
#[derive(Debug)]
pub struct OpenaiTarget {
    name: String,
    /// As the user named it; none: the only one that the server has.
    asked: Option<String>,
    dialect: Openai,
    key: Option<ApiKey>,
    patience: Patience,
    /// What could not be verified of the model.
    note: Option<String>,
}

impl OpenaiTarget {
    /// The server at `url`; `name` is how the user named it. The key is sent to that address and to no other.
    pub fn new(
        name: String,
        model: Option<&str>,
        url: ServerUrl,
        key: Option<ApiKey>,
        patience: Patience,
    ) -> Self {
        Self {
            name,
            asked: model.map(str::to_owned),
            dialect: Openai::new(url),
            key,
            patience,
            note: None,
        }
    }

    fn unfit(&self, reason: String) -> TargetError {
        TargetError::Unfit {
            target: self.name.clone(),
            reason,
        }
    }

    /// Asks which models there are, and settles on one. Where the user names it, no list is needed: servers leave it
    /// out, or leave the model out of it.
    fn models(&mut self, client: &mut Client) -> Result<(), TargetError> {
        let listed = match client.get(&self.dialect.url, "/models") {
            Ok(listed) => listed,
            Err(error) => {
                let asked = self.asked.clone();
                return match (self.failed(&error), asked, error) {
                    (
                        TargetError::Unfit { .. },
                        Some(asked),
                        HttpError::Status { .. } | HttpError::Protocol(_),
                    ) => {
                        self.note = Some(format!(
                            "the server has no list of models, so `{asked}` is taken as named, unverified"
                        ));
                        self.dialect.model = Some(asked);
                        Ok(())
                    }
                    (failed, ..) => Err(failed),
                };
            }
        };
        self.dialect.is_llama_server |= models::is_of_llama_server(&listed);
        match choose(&listed, self.asked.as_deref()) {
            Chosen::Listed(model) => (self.dialect.model, self.note) = (Some(model), None),
            Chosen::Unlisted { model, mut note } => {
                if self.dialect.is_llama_server {
                    note += "; llama-server answers with its own model, whatever is named";
                }
                (self.dialect.model, self.note) = (Some(model), Some(note));
            }
            Chosen::Nothing => {
                return Err(TargetError::NotReady {
                    target: self.name.clone(),
                    reason: "has no model; start the server with one".into(),
                    is_certain: false,
                    retry_after_s: None,
                });
            }
            Chosen::Several(names) => {
                return Err(self.unfit(format!(
                    "has several models ({names}); name one: openai:{}#MODEL",
                    self.dialect.url
                )));
            }
        }
        Ok(())
    }

    /// An error of a question about the server itself.
    fn failed(&self, error: &HttpError) -> TargetError {
        if let Some(waiting) = not_ready(&self.name, error) {
            return waiting;
        }
        let url = &self.dialect.url;
        let named = "where a server has no list of models, name one: openai:URL#MODEL";
        match error {
            HttpError::Status {
                status: 401 | 403, ..
            } => self.unfit(format!(
                "{url}: {error}; its key is taken from OPENAI_API_KEY"
            )),
            HttpError::Status { status: 404, .. } => self.unfit(format!(
                "{url}: nothing at /models; the address usually ends in /v1; {named}"
            )),
            HttpError::Status {
                status: 405 | 501, ..
            } => self.unfit(format!("{url}/models: {error}; {named}")),
            HttpError::Status { .. } | HttpError::Protocol(_) => self.unfit(format!(
                "{url} does not answer as OpenAI does: {error}; {named}"
            )),
            HttpError::Tls(why) => self.unfit(format!("{url}: {why}")),
            _ => TargetError::Unreachable {
                target: self.name.clone(),
                reason: format!("{url}: {error}; is the server started, and is this its address?"),
            },
        }
    }
}

impl Target for OpenaiTarget {
    fn facts(&mut self) -> Result<TargetFacts, TargetError> {
        let said = self.say_facts();
        redact::facts(self.key.as_ref(), said)
    }

    fn serve(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<Served, TargetError> {
        let served = self.serve_job(job, stop);
        redact::served(self.key.as_ref(), served)
    }
}

impl OpenaiTarget {
    fn say_facts(&mut self) -> Result<TargetFacts, TargetError> {
        let mut client = Client::of_facts(self.patience, self.key.clone());
        let root = self.dialect.url.root();
        // llama-server and vLLM say there that a model loads, while they list it already.
        if let Err(error) = client.get(&root, "/health")
            && let Some(waiting) = not_ready(&self.name, &error)
        {
            return Err(waiting);
        }
        self.models(&mut client)?;
        // Only llama-server has properties, and only vLLM a version; others need not.
        let props = client.get(&root, "/props").unwrap_or(Value::Null);
        let version = if props["build_info"].is_string() {
            self.dialect.is_llama_server = true;
            Value::Null
        } else {
            client.get(&root, "/version").unwrap_or(Value::Null)
        };
        let model = self.dialect.model.as_deref();
        let mut facts = facts(&self.name, model, &props, &version);
        facts.notes.extend(self.note.clone());
        facts.notes.extend(self.dialect.adaptations());
        Ok(facts)
    }

    fn serve_job(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<Served, TargetError> {
        if self.dialect.model.is_none() {
            let mut client = Client::of_facts(self.patience, self.key.clone());
            self.models(&mut client)?;
        }
        let key = self.key.as_ref();
        serve(&self.dialect, &self.name, self.patience, key, job, stop)
    }
}

fn facts(name: &str, model: Option<&str>, props: &Value, version: &Value) -> TargetFacts {
    let text = |value: &Value| value.as_str().map(shortened);
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    TargetFacts {
        kind: TargetKind::Openai,
        name: name.to_owned(),
        version: text(&props["build_info"])
            .map(|build| format!("llama.cpp {build}"))
            .or_else(|| text(&version["version"])),
        model: model.map(shortened),
        sha256: None,
        file_type: text(&props["model_ftype"]),
        size_bytes: None,
        size_vram_bytes: None,
        n_ctx: number(&props["default_generation_settings"]["n_ctx"]),
        n_parallel: number(&props["total_slots"]),
        notes: Vec::new(),
    }
}
