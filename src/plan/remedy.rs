//! What helps cases that do not fit into memory: only what they do not have already.

use super::{Case, KvSizing, KvType};

/// Whether a case's cache could be of a smaller type.
pub fn has_smaller_cache_type(case: &Case) -> bool {
    let least = KvType::Q8_0.bytes_per_element();
    let is_larger = |t: KvType| t.bytes_per_element() > least;
    is_larger(case.type_k) || is_larger(case.type_v)
}

/// What would make the KV cache of these cases smaller: `--kv fit, a smaller --n-ctx, or --type-k and --type-v q8_0`.
/// None where all of it is done.
pub fn of_cache<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Option<String> {
    remedies(cases, false)
}

/// The same with fewer sequences, and with fewer layers on a device whose memory is what lacks.
pub fn of_memory<'a>(cases: impl IntoIterator<Item = &'a Case>, on_device: bool) -> Option<String> {
    let of_case = remedies(cases, true);
    match (of_case, on_device) {
        (Some(remedies), true) => Some(format!(
            "{}, or fewer layers on the device (--n-gpu-layers)",
            remedies.replace(", or ", ", ")
        )),
        (None, true) => Some("fewer layers on the device (--n-gpu-layers)".to_owned()),
        (of_case, false) => of_case,
    }
}

/// How many layers fit a device that does not have room for all that were asked for; nothing where no device lacks.
pub fn of_layers(n_gpu_layers: Option<u32>) -> String {
    match n_gpu_layers {
        None => String::new(),
        Some(0) => "; no layer fits (--n-gpu-layers 0)".to_owned(),
        Some(n) => format!("; --n-gpu-layers {n} fits"),
    }
}

fn remedies<'a>(cases: impl IntoIterator<Item = &'a Case>, fewer: bool) -> Option<String> {
    let cases: Vec<&Case> = cases.into_iter().collect();
    let any = |of: fn(&Case) -> bool| cases.iter().any(|c| of(c));
    let is_full = |c: &Case| c.kv == KvSizing::Full;
    let (smaller_ctx, smaller_batch) = (any(is_full), fewer && any(|c| c.n_seq > 1));
    let mut found = Vec::new();
    if smaller_ctx {
        found.push("--kv fit");
    }
    found.extend(match (smaller_ctx, smaller_batch) {
        (true, true) => Some("a smaller --n-ctx or --batch"),
        (true, false) => Some("a smaller --n-ctx"),
        (false, true) => Some("a smaller --batch"),
        (false, false) => None,
    });
    if any(has_smaller_cache_type) {
        found.push("--type-k and --type-v q8_0");
    }
    let last = found.pop()?;
    Some(match found.len() {
        0 => last.to_owned(),
        _ => format!("{}, or {last}", found.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expand::{Axes, Host, cases};

    fn case(n_seq: u32, kv: KvSizing, cache: KvType) -> Case {
        let axes = Axes {
            n_seq: Some(vec![n_seq]),
            kv: Some(vec![kv]),
            type_k: Some(vec![cache]),
            type_v: Some(vec![cache]),
            ..Axes::default()
        };
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        let mut cases = cases(&axes, &["m".into()], &[], host).expect("valid");
        cases.remove(0)
    }

    #[test]
    fn only_what_is_not_done_already_is_advised() {
        let of = |case: Case| of_memory([&case], false);
        assert_eq!(
            of(case(8, KvSizing::Full, KvType::F16)).as_deref(),
            Some("--kv fit, a smaller --n-ctx or --batch, or --type-k and --type-v q8_0")
        );
        assert_eq!(
            of(case(8, KvSizing::Fit, KvType::Q4_0)).as_deref(),
            Some("a smaller --batch")
        );
        assert_eq!(
            of(case(1, KvSizing::Fit, KvType::F16)).as_deref(),
            Some("--type-k and --type-v q8_0")
        );
        assert_eq!(of(case(1, KvSizing::Fit, KvType::Q8_0)), None);
        let on_device = |cache| of_memory([&case(1, KvSizing::Fit, cache)], true);
        assert_eq!(
            on_device(KvType::F16).as_deref(),
            Some("--type-k and --type-v q8_0, or fewer layers on the device (--n-gpu-layers)")
        );
        assert_eq!(
            of_memory([&case(8, KvSizing::Full, KvType::F16)], true).as_deref(),
            Some(
                "--kv fit, a smaller --n-ctx or --batch, --type-k and --type-v q8_0, or fewer layers on the device \
                 (--n-gpu-layers)"
            )
        );
        assert_eq!(
            on_device(KvType::Q8_0).as_deref(),
            Some("fewer layers on the device (--n-gpu-layers)")
        );
        let cache = of_cache([&case(8, KvSizing::Fit, KvType::Q8_0)]);
        assert_eq!(cache, None, "fewer sequences are no remedy of their cache");
    }
}
