//! An Ollama server: `/api/generate` and `/api/chat`, one JSON document a line.

use serde::Serialize;
use serde_json::Value;

use super::exchange::{Dialect, Finish, PartialAnswer, Reader, ServerRequest, json, serve};
use super::http::{Client, HttpError, Patience, shortened};
use super::loose::{self, AnswerPiece};
use super::ready::not_ready;
use super::spec::ServerUrl;
use super::{Endpoint, Job, Served, ServerTimes, Target, TargetError, TargetFacts, TargetKind};

/// How long the server keeps the model loaded after a request: longer than any pause of a run.
const KEEP_ALIVE: &str = "30m";

/// An Ollama server and one of its models.
#[derive(Debug)]
pub struct OllamaTarget {
    name: String,
    dialect: Ollama,
    patience: Patience,
}

impl OllamaTarget {
    /// The model `model` of the server at `url`; `name` is how the user named them.
    pub fn new(name: String, model: &str, url: ServerUrl, patience: Patience) -> Self {
        Self {
            name,
            dialect: Ollama {
                model: model.to_owned(),
                url,
            },
            patience,
        }
    }

    fn unfit(&self, reason: String) -> TargetError {
        TargetError::Unfit {
            target: self.name.clone(),
            reason,
        }
    }

    /// An error of a question about the server itself.
    fn failed(&self, error: &HttpError) -> TargetError {
        if let Some(waiting) = not_ready(&self.name, error) {
            return waiting;
        }
        match error {
            HttpError::Tls(why) => self.unfit(format!("{}: {why}", self.dialect.url)),
            HttpError::Status { .. } | HttpError::Protocol(_) => self.unfit(format!(
                "{} does not answer as Ollama does: {error}",
                self.dialect.url
            )),
            _ => TargetError::Unreachable {
                target: self.name.clone(),
                reason: format!(
                    "{}: {error}; start it with `ollama serve`, or name its address: \
                     ollama:MODEL@http://HOST:PORT",
                    self.dialect.url
                ),
            },
        }
    }
}

impl Target for OllamaTarget {
    fn facts(&mut self) -> Result<TargetFacts, TargetError> {
        let mut client = Client::of_facts(self.patience, None);
        let url = &self.dialect.url;
        let version = client.get(url, "/api/version");
        let version = version.map_err(|error| self.failed(&error))?;
        let asked = Model {
            model: &self.dialect.model,
        };
        let shown = match client.post(url, "/api/show", &json(&asked)) {
            Ok(shown) => shown,
            Err(HttpError::Status { status: 404, .. }) => {
                let model = &self.dialect.model;
                return Err(self.unfit(format!(
                    "the server has no model `{model}`; get it with `ollama pull {model}`, or make it of a \
                     file with `ollama create {model} -f Modelfile`"
                )));
            }
            Err(error) => return Err(self.failed(&error)),
        };
        if let Some(host) = shown["remote_host"]
            .as_str()
            .filter(|host| !host.is_empty())
        {
            let host = shortened(host);
            return Err(self.unfit(format!(
                "the server passes this model's requests on to {host}"
            )));
        }
        let loaded = client.get(url, "/api/ps");
        let loaded = loaded.map_err(|error| self.failed(&error))?;
        Ok(facts(
            &self.name,
            &self.dialect.model,
            &version,
            &shown,
            &loaded,
        ))
    }

    fn serve(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<Served, TargetError> {
        serve(&self.dialect, &self.name, self.patience, None, job, stop)
    }
}

/// What the four documents say.
fn facts(name: &str, model: &str, version: &Value, shown: &Value, loaded: &Value) -> TargetFacts {
    let text = |value: &Value| value.as_str().map(shortened);
    let same = |other: &Value| {
        ["name", "model"]
            .iter()
            .filter_map(|key| other[*key].as_str())
            .any(|other| full_name(other) == full_name(model))
    };
    let here = loaded["models"].as_array();
    let here = here.and_then(|models| models.iter().find(|other| same(other)));
    let number = |key: &str| here.and_then(|here| here[key].as_u64());
    TargetFacts {
        kind: TargetKind::Ollama,
        name: name.to_owned(),
        version: text(&version["version"]),
        model: Some(model.to_owned()),
        sha256: shown["modelfile"].as_str().and_then(blob_of),
        file_type: text(&shown["details"]["quantization_level"]),
        size_bytes: number("size"),
        size_vram_bytes: number("size_vram"),
        n_ctx: number("context_length").and_then(|n| u32::try_from(n).ok()),
        // OLLAMA_NUM_PARALLEL is told nowhere.
        n_parallel: None,
        notes: Vec::new(),
    }
}

/// A model's name as Ollama completes it, in lower case.
fn full_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let short = name
        .strip_prefix("registry.ollama.ai/")
        .unwrap_or(&name)
        .trim_start_matches("library/");
    let (path, model) = short.rsplit_once('/').unwrap_or(("", short));
    let tag = if model.contains(':') { "" } else { ":latest" };
    format!("{path}/{model}{tag}")
}

/// The sha256 in the first `FROM .../blobs/sha256-...` of a modelfile: that of the model's file. (`/api/tags` has only
/// the manifest's.)
fn blob_of(modelfile: &str) -> Option<String> {
    let from = modelfile
        .lines()
        .find_map(|line| line.trim().strip_prefix("FROM "))?;
    let (_, hex) = from.trim().trim_matches('"').rsplit_once("sha256")?;
    let hex = hex.strip_prefix(['-', ':'])?;
    let valid = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| hex.to_ascii_lowercase())
}

/// The protocol.
#[derive(Debug)]
struct Ollama {
    model: String,
    url: ServerUrl,
}

#[derive(Serialize)]
struct Model<'a> {
    model: &'a str,
}

/// Everything a request says: the options that decide the work are named one by one, since a Modelfile may have others as its
/// defaults.
#[derive(Serialize)]
struct OllamaRequest<'a> {
    model: &'a str,
    #[serde(flatten)]
    text: OllamaText<'a>,
    stream: bool,
    keep_alive: &'a str,
    options: Options,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OllamaText<'a> {
    Raw { prompt: &'a str, raw: bool },
    Chat { messages: [OllamaMessage<'a>; 1] },
}

#[derive(Serialize)]
struct OllamaMessage<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    num_ctx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_thread: Option<u32>,
    num_predict: u32,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    seed: u32,
    // The in-process sampler has no penalties; older versions have 1.1 as their default.
    repeat_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
}

impl Dialect for Ollama {
    fn url(&self) -> &ServerUrl {
        &self.url
    }

    fn question(&self, job: &Job, number: u32) -> ServerRequest {
        let text = job.text_of(number);
        let sampling = job.sampling_of(number);
        let (path, text) = match job.endpoint {
            Endpoint::Completion => (
                "/api/generate",
                OllamaText::Raw {
                    prompt: &text,
                    raw: true,
                },
            ),
            Endpoint::Chat => (
                "/api/chat",
                OllamaText::Chat {
                    messages: [OllamaMessage {
                        role: "user",
                        content: &text,
                    }],
                },
            ),
        };
        let ask = OllamaRequest {
            model: &self.model,
            text,
            stream: true,
            keep_alive: KEEP_ALIVE,
            options: Options {
                num_ctx: job.forced.n_ctx.then_some(job.case.n_ctx),
                num_thread: job.forced.n_threads.then_some(job.case.n_threads),
                // It cannot be told to go on at the end of a text: StopAt::Length may end short, as Ending::Stop.
                num_predict: job.case.n_gen,
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                top_p: sampling.top_p,
                min_p: sampling.min_p,
                seed: sampling.seed,
                repeat_penalty: 1.0,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
            },
        };
        ServerRequest {
            path,
            body: json(&ask),
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Documents::default())
    }
}

/// Most bytes that are kept of lines that are no documents, in case that they are one together.
const MOST_STRAY_BYTES: usize = 1 << 20;

/// The lines of an answer. What is not understood is passed over.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// Whether the last document was read.
    is_over: bool,
    /// Whether any document was a piece of an answer, or its end.
    is_understood: bool,
    /// Lines that were not, while no other was.
    stray: String,
    /// When the last line was read.
    at_ns: u64,
}

impl Reader for Documents {
    fn line(&mut self, at_ns: u64, line: &str, answer: &mut PartialAnswer) -> Result<(), String> {
        // A gateway may have made events of them.
        let line = line.strip_prefix("data:").unwrap_or(line).trim();
        if line.is_empty() || self.is_over {
            return Ok(());
        }
        self.at_ns = at_ns;
        match loose::parse(line) {
            Ok(document) => self.document(&document, answer),
            Err(why) if line.starts_with('{') && self.is_understood => {
                Err(format!("not Ollama's ({why}): {line}"))
            }
            Err(_) => {
                self.pass_over(line);
                Ok(())
            }
        }
    }

    fn end(&mut self, answer: &mut PartialAnswer) -> Result<(), String> {
        let stray = std::mem::take(&mut self.stray);
        if self.is_understood || stray.is_empty() {
            return Ok(());
        }
        // A whole document over several lines.
        if let Ok(document) = loose::parse(&stray) {
            self.document(&document, answer)?;
        }
        match self.is_understood {
            true => Ok(()),
            false => Err(format!("not Ollama's: {}", stray.trim())),
        }
    }
}

impl Documents {
    fn pass_over(&mut self, line: &str) {
        if !self.is_understood && self.stray.len() + line.len() < MOST_STRAY_BYTES {
            self.stray.push_str(line);
            self.stray.push('\n');
        }
    }

    fn document(&mut self, document: &Value, answer: &mut PartialAnswer) -> Result<(), String> {
        if let Some(words) = loose::error_in(document) {
            return Err(words);
        }
        let message = &document["message"];
        let mut piece = match message.is_object() {
            true => AnswerPiece::of(message),
            false => AnswerPiece::of(&document["response"]),
        };
        if piece.reasoning.is_empty() {
            piece.reasoning = AnswerPiece::of_reasoning(&document["thinking"]).reasoning;
        }
        let is_done = matches!(&document["done"], Value::Bool(true))
            || document["done"].as_str() == Some("true");
        let is_piece = message.is_object() || document.get("response").is_some();
        if piece.is_empty() && !is_done && !is_piece {
            self.pass_over(&document.to_string());
            return Ok(());
        }
        self.is_understood = true;
        // How many tokens a piece has is not told: several where letters or stop words were waited for.
        answer.reasoning(self.at_ns, &piece.reasoning, None);
        answer.piece(self.at_ns, &piece.text, None);
        if is_done {
            self.is_over = true;
            end(self.at_ns, document, answer)?;
        }
        Ok(())
    }
}

fn end(at_ns: u64, document: &Value, answer: &mut PartialAnswer) -> Result<(), String> {
    let finish = match loose::finish(&document["done_reason"])? {
        // Versions before 0.1.40 give no reason.
        None => Finish::Unsaid,
        Some(said) => said,
    };
    answer.finish(at_ns, finish);
    match loose::count(&document["eval_count"]) {
        Ok(n) => answer.n_counted = n,
        Err(said) => answer.not_a_count = Some(said),
    }
    answer.n_prompt = loose::small_count(&document["prompt_eval_count"]);
    let ns = |name: &str| loose::nanoseconds(&document[name], 1.0);
    answer.server = Some(ServerTimes {
        total_ns: ns("total_duration"),
        load_ns: ns("load_duration"),
        prompt_ns: ns("prompt_eval_duration"),
        eval_ns: ns("eval_duration"),
        n_prompt: answer.n_prompt,
        // Newer versions count the prompt's cached tokens with the others, and never tell them apart.
        n_cached: None,
        n_eval: loose::small_count(&document["eval_count"]),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEX: &str = "667b0c1932bc6ffc593ed1d03f895bf2dc8dc6df21db3042284a6f4416b06a29";

    #[test]
    fn the_files_hash_is_in_the_modelfile() {
        let from = |path: &str| format!("# generated\nFROM {path}\nTEMPLATE x\nFROM other\n");
        let unix = format!("/usr/share/ollama/.ollama/models/blobs/sha256-{HEX}");
        assert_eq!(blob_of(&from(&unix)), Some(HEX.into()));
        let windows = format!(r#""C:\Users\a b\blobs\sha256-{}""#, HEX.to_uppercase());
        assert_eq!(blob_of(&from(&windows)), Some(HEX.into()));
        assert_eq!(blob_of(&from("llama3.1:8b")), None);
        assert_eq!(blob_of(&from(&format!("sha256-{HEX}0"))), None);
        assert_eq!(blob_of("TEMPLATE x"), None);
    }

    #[test]
    fn names_are_completed_as_ollama_does() {
        assert_eq!(full_name("llama3.1"), full_name("Llama3.1:latest"));
        assert_eq!(
            full_name("registry.ollama.ai/library/m:8b"),
            full_name("m:8b")
        );
        assert_ne!(full_name("m:8b"), full_name("m:7b"));
        assert_ne!(full_name("me/m"), full_name("m"));
    }

    #[test]
    fn a_model_that_is_not_loaded_has_no_size() {
        let shown = json!({"details": {"quantization_level": "Q4_0"}});
        let loaded =
            json!({"models": [{"name": "other:latest", "size": 5, "context_length": 4096}]});
        let facts = facts("ollama:m", "m", &json!({}), &shown, &loaded);
        assert_eq!(facts.size_bytes, None);
        assert_eq!(facts.n_ctx, None);
        assert_eq!(facts.version, None);
        assert_eq!(facts.file_type, Some("Q4_0".into()));
    }
}
