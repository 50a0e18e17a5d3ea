//! A server with OpenAI's completions (llama-server, vLLM): `/completions` and `/chat/completions`, as server-sent
//! events.

mod events;

use serde::Serialize;
use serde_json::Value;

use super::exchange::{Dialect, Question, Reader, json, serve};
use super::http::{ApiKey, Client, HttpError, Patience, shortened};
use super::redact;
use super::spec::ServerUrl;
use super::{Endpoint, Job, Served, StopAt, Target, TargetError, TargetFacts, TargetKind};

/// Most names of models in a message.
const NAMED_MODELS: usize = 8;

/// A server and one of its models.
#[derive(Debug)]
pub struct OpenaiTarget {
    name: String,
    /// As the user named it; none: the only one that the server has.
    asked: Option<String>,
    dialect: Openai,
    key: Option<ApiKey>,
    patience: Patience,
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
            dialect: Openai { model: None, url },
            key,
            patience,
        }
    }

    fn unfit(&self, reason: String) -> TargetError {
        TargetError::Unfit {
            target: self.name.clone(),
            reason,
        }
    }

    /// Asks which models there are, and settles on one.
    fn models(&mut self, client: &mut Client) -> Result<(), TargetError> {
        let models = match client.get(&self.dialect.url, "/models") {
            Ok(models) => models,
            Err(error) => return Err(self.failed(&error)),
        };
        let names: Vec<&str> = models["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|model| model["id"].as_str())
            .collect();
        let list = || {
            let some: Vec<String> = names
                .iter()
                .take(NAMED_MODELS)
                .map(|n| shortened(n))
                .collect();
            let more = if names.len() > NAMED_MODELS {
                ", ..."
            } else {
                ""
            };
            format!("{}{more}", some.join(", "))
        };
        let chosen = match (&self.asked, names.as_slice()) {
            (Some(asked), _) if names.contains(&asked.as_str()) => asked,
            (Some(asked), []) => asked,
            (Some(asked), _) => {
                return Err(self.unfit(format!("has no model `{asked}`; it has: {}", list())));
            }
            (None, [only]) => *only,
            (None, []) => {
                return Err(self.unfit("has no model; start the server with one".into()));
            }
            (None, _) => {
                return Err(self.unfit(format!(
                    "has several models ({}); name one: openai:{}#MODEL",
                    list(),
                    self.dialect.url
                )));
            }
        };
        self.dialect.model = Some(chosen.to_owned());
        Ok(())
    }

    /// An error of a question about the server itself.
    fn failed(&self, error: &HttpError) -> TargetError {
        let url = &self.dialect.url;
        match error {
            HttpError::Status {
                status: 401 | 403, ..
            } => self.unfit(format!(
                "{url}: {error}; its key is taken from OPENAI_API_KEY"
            )),
            HttpError::Status { status: 404, .. } => self.unfit(format!(
                "{url}: nothing at /models; the address usually ends in /v1"
            )),
            HttpError::Status { .. } | HttpError::Protocol(_) => {
                self.unfit(format!("{url} does not answer as OpenAI does: {error}"))
            }
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
        self.models(&mut client)?;
        // Only llama-server has properties, and only vLLM a version; others need not.
        let root = self.dialect.url.root();
        let props = client.get(&root, "/props").unwrap_or(Value::Null);
        let version = if props["build_info"].is_string() {
            Value::Null
        } else {
            client.get(&root, "/version").unwrap_or(Value::Null)
        };
        let model = self.dialect.model.as_deref();
        Ok(facts(&self.name, model, &props, &version))
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
    }
}

/// The protocol.
#[derive(Debug)]
struct Openai {
    model: Option<String>,
    url: ServerUrl,
}

#[derive(Serialize)]
struct Ask<'a> {
    model: &'a str,
    #[serde(flatten)]
    text: Text<'a>,
    max_tokens: u32,
    temperature: f32,
    top_p: f32,
    seed: u32,
    stream: bool,
    stream_options: StreamOptions,
    // What follows is not OpenAI's; llama-server and vLLM know it, and neither minds the other's.
    top_k: u32,
    min_p: f32,
    /// A prefix that an earlier request left would make this one cheaper.
    cache_prompt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Plain { prompt: &'a str },
    Chat { messages: [Message<'a>; 1] },
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl Dialect for Openai {
    fn url(&self) -> &ServerUrl {
        &self.url
    }

    fn question(&self, job: &Job, number: u32) -> Question {
        let text = job.text_of(number);
        let sampling = job.sampling.of_request(number);
        let (path, text) = match job.endpoint {
            Endpoint::Completion => ("/completions", Text::Plain { prompt: &text }),
            Endpoint::Chat => (
                "/chat/completions",
                Text::Chat {
                    messages: [Message {
                        role: "user",
                        content: &text,
                    }],
                },
            ),
        };
        let ask = Ask {
            model: self.model.as_deref().unwrap_or_default(),
            text,
            max_tokens: job.case.n_gen,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            seed: sampling.seed,
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            cache_prompt: false,
            ignore_eos: (job.stop_at == StopAt::Length).then_some(true),
        };
        Question {
            path,
            body: json(&ask),
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(events::Events::default())
    }

    fn advice(&self, status: u16) -> Option<&'static str> {
        match status {
            400 | 422 => Some(
                "the server may not know a field that is sent beyond OpenAI's own: top_k, min_p, cache_prompt, \
                 ignore_eos",
            ),
            401 | 403 => Some("its key is taken from OPENAI_API_KEY"),
            _ => None,
        }
    }
}
