//! What a request to a server with OpenAI's completions says, and what is made of a refusal.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::super::exchange::{Dialect, Reader, ServerRequest, json};
use super::super::spec::ServerUrl;
use super::super::{Endpoint, Job, StopAt};
use super::events::Events;

const COMPLETIONS: &str = "/completions";
const CHAT: &str = "/chat/completions";

/// Fields that OpenAI does not have; llama-server and vLLM know them, strict servers refuse them.
const OTHERS: [&str; 4] = ["top_k", "min_p", "cache_prompt", "ignore_eos"];

/// Fields of OpenAI's own: a refusal that names one of them is not about the others.
const OWN: [&str; 7] = [
    "seed",
    "top_p",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "messages",
];

/// The protocol.
#[derive(Debug)]
pub(super) struct Openai {
    /// The model that requests name.
    pub(super) model: Option<String>,
    pub(super) url: ServerUrl,
    /// Whether the server is known to be llama.cpp's, whose defaults are not neutral.
    pub(super) is_llama_server: bool,
    /// Whether the server refused `stream_options`, as older ones do.
    without_stream_options: AtomicBool,
    /// Whether the server refused `seed`.
    without_seed: AtomicBool,
    /// Whether it insists on `max_completion_tokens` in the place of `max_tokens`.
    max_completion_tokens: AtomicBool,
}

/// Everything a request says. A value that changes nothing is left out: what is not said cannot be refused.
#[derive(Default, Serialize)]
struct OpenaiRequest<'a> {
    model: &'a str,
    #[serde(flatten)]
    text: OpenaiText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    temperature: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OpenaiText<'a> {
    Plain { prompt: &'a str },
    Chat { messages: [OpenaiMessage<'a>; 1] },
}

impl Default for OpenaiText<'_> {
    fn default() -> Self {
        Self::Plain { prompt: "" }
    }
}

#[derive(Serialize)]
struct OpenaiMessage<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl Openai {
    pub(super) fn new(url: ServerUrl) -> Self {
        Self {
            model: None,
            url,
            is_llama_server: false,
            without_stream_options: AtomicBool::new(false),
            without_seed: AtomicBool::new(false),
            max_completion_tokens: AtomicBool::new(false),
        }
    }

    /// What is left out because the server refused it.
    pub(super) fn adaptations(&self) -> impl Iterator<Item = String> {
        let both = [
            (
                &self.without_stream_options,
                "the server refuses stream_options, so it may not count its tokens",
            ),
            (
                &self.without_seed,
                "the server refuses seed, so its answers differ from run to run",
            ),
        ];
        let refused = both
            .into_iter()
            .filter(|(is, _)| is.load(Ordering::Relaxed));
        refused.map(|(_, note)| note.to_owned())
    }

    /// Adds how tokens are chosen. At temperature 0 nothing but the temperature matters.
    fn sample(&self, ask: &mut OpenaiRequest<'_>, job: &Job, number: u32) {
        let sampling = job.sampling_of(number);
        ask.temperature = sampling.temperature;
        if sampling.is_greedy() {
            return;
        }
        ask.seed = (!self.without_seed.load(Ordering::Relaxed)).then_some(sampling.seed);
        ask.top_p = Some(sampling.top_p);
        if job.openai_strict {
            return;
        }
        // 0 means all; llama-server takes a value of its own where nothing is said.
        ask.top_k = Some(sampling.top_k).filter(|k| *k != 0 || self.is_llama_server);
        ask.min_p = Some(sampling.min_p).filter(|p| *p != 0.0 || self.is_llama_server);
    }
}

impl Dialect for Openai {
    fn url(&self) -> &ServerUrl {
        &self.url
    }

    fn question(&self, job: &Job, number: u32) -> ServerRequest {
        let said = job.text_of(number);
        let (path, text) = match job.endpoint {
            Endpoint::Completion => (COMPLETIONS, OpenaiText::Plain { prompt: &said }),
            Endpoint::Chat => {
                let message = OpenaiMessage {
                    role: "user",
                    content: &said,
                };
                (
                    CHAT,
                    OpenaiText::Chat {
                        messages: [message],
                    },
                )
            }
        };
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let n_gen = Some(job.case.n_gen);
        let mut ask = OpenaiRequest {
            model: self.model.as_deref().unwrap_or_default(),
            text,
            max_tokens: n_gen.filter(|_| !is(&self.max_completion_tokens)),
            max_completion_tokens: n_gen.filter(|_| is(&self.max_completion_tokens)),
            stream: true,
            stream_options: (!is(&self.without_stream_options)).then_some(StreamOptions {
                include_usage: true,
            }),
            ..OpenaiRequest::default()
        };
        self.sample(&mut ask, job, number);
        if !job.openai_strict {
            ask.ignore_eos = (job.stop_at == StopAt::Length).then_some(true);
            // A prefix that an earlier request left would make this one cheaper.
            ask.cache_prompt = self.is_llama_server.then_some(false);
        }
        ServerRequest {
            path,
            body: json(&ask),
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Events::default())
    }

    fn adapt(&self, question: &ServerRequest, status: u16, reason: &str) -> bool {
        // The field must be in the refused question: several may be refused at once, and none is sent for ever.
        let refuses =
            |field: &str, word: &str| has_field(&question.body, field) && reason.contains(word);
        if !matches!(status, 400..=501) {
            return false;
        }
        let insists = refuses("max_tokens", "max_completion_tokens")
            || (refuses("max_tokens", "max_tokens") && is_unknown_to_server(reason));
        if insists {
            self.max_completion_tokens.store(true, Ordering::Relaxed);
            return true;
        }
        if refuses("seed", "seed") && is_unknown_to_server(reason) {
            self.without_seed.store(true, Ordering::Relaxed);
            return true;
        }
        let is_refused = refuses("stream_options", "stream_options")
            || refuses("stream_options", "include_usage");
        if is_refused {
            self.without_stream_options.store(true, Ordering::Relaxed);
        }
        is_refused
    }

    fn advice(&self, question: &ServerRequest, status: u16, reason: &str) -> Option<String> {
        let said = reason.to_ascii_lowercase();
        let is_of_model = said.contains("model") && !said.contains("completions");
        match status {
            401 | 403 => Some("its key is taken from OPENAI_API_KEY".to_owned()),
            404 | 405 | 501 if is_of_model => None,
            404 | 405 | 501 if question.path == COMPLETIONS => {
                Some("the server has no /completions: name --endpoint chat".to_owned())
            }
            404 | 405 | 501 => {
                Some("the server has no /chat/completions: name --endpoint completion".to_owned())
            }
            400..=499 if question.path == COMPLETIONS && is_of_chat_model(&said) => {
                Some("--endpoint chat sends the prompt as a message".to_owned())
            }
            400..=499 if said.contains("chat template") => {
                Some("--endpoint completion needs none".to_owned())
            }
            _ => refused_fields(question, status, &said),
        }
    }
}

/// Whether a refusal says that the model answers messages only.
fn is_of_chat_model(said: &str) -> bool {
    said.contains("chat model")
        || said.contains("chat/completions")
        || (said.contains("completions endpoint") && said.contains("not supported"))
}

/// That fields beyond OpenAI's were sent, where those may be what is refused.
fn refused_fields(question: &ServerRequest, status: u16, said: &str) -> Option<String> {
    let sent: Vec<&str> = OTHERS
        .into_iter()
        .filter(|field| has_field(&question.body, field))
        .collect();
    let is_named = sent.iter().any(|field| said.contains(field));
    let names_another = OWN.iter().any(|field| said.contains(field));
    let is_meant = is_named || (matches!(status, 400 | 422) && !names_another);
    (!sent.is_empty() && is_meant).then(|| {
        format!(
            "sent beyond OpenAI's own fields: {}; --openai-strict leaves them out",
            sent.join(", ")
        )
    })
}

/// Whether a refusal is about a field as such, and not about its value.
fn is_unknown_to_server(reason: &str) -> bool {
    let said = reason.to_ascii_lowercase();
    let words = [
        "not permitted",
        "not supported",
        "not allowed",
        "unsupported",
        "unknown",
        "unrecognized",
        "extra",
        "unexpected",
    ];
    words.iter().any(|word| said.contains(word))
}

/// Whether a request has this field. A text cannot look like one: its quotes are escaped.
fn has_field(body: &str, field: &str) -> bool {
    body.contains(&format!("\"{field}\":"))
}
