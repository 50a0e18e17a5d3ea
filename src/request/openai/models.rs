//! Which of a server's models is meant.

use serde_json::Value;

use super::super::http::shortened;

/// Most names of models in a message.
const NAMED_MODELS: usize = 8;

/// The model that requests name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// By the server's own name for it.
    Listed(String),
    /// As the user named it: the list does not have it, which need not mean that the server does not.
    Unlisted {
        /// As named.
        model: String,
        /// That it is not verified.
        note: String,
    },
    /// No model was named, and the server has none.
    Nothing,
    /// None was named, and there are these.
    Several(String),
}

/// Chooses from a list as servers give it: `{"data": [{"id"}]}`, `{"models": [{"name"}]}`, or the list alone.
pub(super) fn choose(listed: &Value, asked: Option<&str>) -> Chosen {
    let models = entries(listed);
    let ids: Vec<&str> = models.iter().filter_map(|model| id_of(model)).collect();
    let Some(asked) = asked else {
        return match ids.as_slice() {
            [] => Chosen::Nothing,
            [only] => Chosen::Listed((*only).to_owned()),
            _ => Chosen::Several(few(&ids)),
        };
    };
    if ids.contains(&asked) || models.iter().any(|model| has_alias(model, asked)) {
        return Chosen::Listed(asked.to_owned());
    }
    for is_same in [same_but_for_case, same_but_for_tag, same_but_for_folder] {
        if let Some(id) = ids.iter().find(|id| is_same(id, asked)) {
            return Chosen::Listed((*id).to_owned());
        }
    }
    let note = match ids.as_slice() {
        [] => format!(
            "the server lists no model, so `{}` is taken as named, unverified",
            shortened(asked)
        ),
        _ => format!(
            "`{}` is not in the server's list ({}); it is taken as named, unverified",
            shortened(asked),
            few(&ids)
        ),
    };
    Chosen::Unlisted {
        model: asked.to_owned(),
        note,
    }
}

/// Whether the list is llama-server's.
pub(super) fn is_of_llama_server(listed: &Value) -> bool {
    entries(listed)
        .iter()
        .any(|model| model["owned_by"] == "llamacpp")
}

fn entries(listed: &Value) -> &[Value] {
    let lists = [&listed["data"], &listed["models"], listed];
    lists
        .into_iter()
        .find_map(|list| list.as_array())
        .map_or(&[], Vec::as_slice)
}

fn id_of(model: &Value) -> Option<&str> {
    let named = ["id", "name", "model"]
        .iter()
        .find_map(|name| model[*name].as_str());
    named.or(model.as_str()).filter(|id| !id.is_empty())
}

/// Whether the server names it as another name of this model.
fn has_alias(model: &Value, asked: &str) -> bool {
    let is_asked = |name: &Value| name.as_str() == Some(asked);
    let single = ["name", "model", "alias", "root"]
        .iter()
        .any(|key| is_asked(&model[*key]));
    let list = model["aliases"].as_array();
    single || list.is_some_and(|all| all.iter().any(is_asked))
}

fn same_but_for_case(id: &str, asked: &str) -> bool {
    id.eq_ignore_ascii_case(asked)
}

/// `llama3.2` is `llama3.2:latest`.
fn same_but_for_tag(id: &str, asked: &str) -> bool {
    let tagged = |name: &str| {
        let name = name.to_ascii_lowercase();
        let has_tag = name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'));
        if has_tag {
            name
        } else {
            format!("{name}:latest")
        }
    };
    tagged(id) == tagged(asked)
}

/// `/models/smollm2.gguf` is `smollm2.gguf`, and `smollm2`.
fn same_but_for_folder(id: &str, asked: &str) -> bool {
    let file = id
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(id)
        .to_ascii_lowercase();
    let asked = asked.to_ascii_lowercase();
    file == asked || file.strip_suffix(".gguf") == Some(&asked)
}

fn few(ids: &[&str]) -> String {
    let some: Vec<String> = ids
        .iter()
        .take(NAMED_MODELS)
        .map(|id| shortened(id))
        .collect();
    let more = if ids.len() > NAMED_MODELS {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(names: &[&str]) -> Value {
        let all: Vec<Value> = names.iter().map(|name| json!({"id": name})).collect();
        json!({"object": "list", "data": all})
    }

    fn chosen(names: &[&str], asked: &str) -> Option<String> {
        match choose(&listed(names), Some(asked)) {
            Chosen::Listed(model) => Some(model),
            Chosen::Unlisted { model, note } => {
                assert!(model == asked && note.contains("unverified"), "{note}");
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_named_model_is_found_by_what_people_call_it() {
        let some = |name: &str| Some(name.to_owned());
        let ollama = ["qwen:7b", "llama3.2:latest", "llama3.2:1b"];
        assert_eq!(chosen(&ollama, "llama3.2"), some("llama3.2:latest"));
        assert_eq!(chosen(&ollama, "LLAMA3.2:1B"), some("llama3.2:1b"));
        assert_eq!(chosen(&ollama, "llama3.2:1b"), some("llama3.2:1b"));
        assert_eq!(chosen(&["m"], "m:latest"), some("m"));
        assert_eq!(
            chosen(&["Qwen/Qwen3-8B"], "qwen/qwen3-8b"),
            some("Qwen/Qwen3-8B")
        );
        let path = "/models/smollm2.gguf";
        assert_eq!(chosen(&[path], "smollm2"), some(path));
        assert_eq!(chosen(&[path], "smollm2.gguf"), some(path));
        assert_eq!(chosen(&["m", "M"], "M"), some("M"));
        let aliased = json!({"data": [{"id": "a", "aliases": ["b", "c"]}]});
        assert_eq!(choose(&aliased, Some("c")), Chosen::Listed("c".into()));
    }

    #[test]
    fn a_named_model_that_is_not_listed_goes_on_unverified() {
        assert_eq!(chosen(&["a"], "b"), None);
        assert_eq!(chosen(&[], "b"), None);
        assert_eq!(chosen(&["llama3.2:1b"], "llama3.2"), None);
        let Chosen::Unlisted { note, .. } = choose(&listed(&["a"]), Some("b")) else {
            panic!("listed");
        };
        assert_eq!(
            note,
            "`b` is not in the server's list (a); it is taken as named, unverified"
        );
    }

    #[test]
    fn an_unnamed_model_is_the_only_one_in_any_form_of_list() {
        let only = Chosen::Listed("m".to_owned());
        for list in [
            json!({"data": [{"id": "m"}]}),
            json!({"models": [{"name": "m", "model": "m"}]}),
            json!([{"id": "m"}]),
            json!(["m"]),
            json!({"data": null, "models": [{"model": "m"}]}),
        ] {
            assert_eq!(choose(&list, None), only, "{list}");
        }
        for list in [
            json!({"data": []}),
            json!({}),
            json!(null),
            json!({"data": [{"id": ""}, 7]}),
        ] {
            assert_eq!(choose(&list, None), Chosen::Nothing, "{list}");
        }
        assert_eq!(
            choose(&listed(&["a", "b"]), None),
            Chosen::Several("a, b".into())
        );
    }
}
