//! A cell in the flags of another benchmark.
//!
//! Flags whose value is the program's own default are left out, so that older revisions which do not know them can be asked too.

use std::path::Path;

use super::{ForeignKind, ForeignTask, TimedPart};
use crate::plan::axis::AXES;
use crate::plan::{Case, FlashAttn, KvType, SplitMode};

pub(super) fn of(
    kind: ForeignKind,
    task: &ForeignTask,
    scratch: &Path,
) -> Result<Vec<String>, String> {
    let model = task.model.to_str().ok_or_else(|| {
        let path = task.model.display();
        format!("{path}: the model's path is not UTF-8; name a link to it")
    })?;
    let case = &task.case;
    if task.part == TimedPart::Prefill && case.n_prompt == 0 {
        return Err("a cell without a prompt has no prefill; say --n-prompt".to_owned());
    }
    if task.part == TimedPart::Decode && case.n_gen == 0 {
        return Err("a cell without decode steps has no decode time; say --n-gen".to_owned());
    }
    match kind {
        ForeignKind::Ggufbench => ggufbench(task, model, scratch),
        ForeignKind::LlamaBench => llama_bench(task, model),
        ForeignKind::LlamaBatchedBench => llama_batched_bench(task, model),
    }
}

/// It tests prefill and decode apart, so that the prompt of a decode test is its depth.
fn llama_bench(task: &ForeignTask, model: &str) -> Result<Vec<String>, String> {
    let case = &task.case;
    if case.n_seq > 1 {
        return Err(format!(
            "llama-bench decodes one sequence, and the cell has {}: name the llama-batched-bench of the same build",
            case.n_seq
        ));
    }
    if case.kv_unified || case.swa_full {
        return Err(
            "llama-bench has no flag for a unified or a full sliding cache: name the llama-batched-bench of the same build"
                .to_owned(),
        );
    }
    let (n_prompt, n_gen, depth) = match task.part {
        TimedPart::Prefill => (case.n_prompt, 0, case.n_depth),
        TimedPart::Decode => (0, case.n_gen, case.n_depth.saturating_add(case.n_prompt)),
    };
    let mut args = Flags::of_model(model);
    args.add("-p", n_prompt).add("-n", n_gen);
    if depth > 0 {
        args.add("-d", depth);
    }
    args.engine(case)?;
    if case.flash_attn != FlashAttn::Auto {
        args.add("-fa", u32::from(case.flash_attn == FlashAttn::On));
    }
    args.add("-r", task.repetitions).add("-o", "jsonl");
    Ok(args.0)
}

/// It prefills and decodes all sequences together; a number of sequences that is named again is another repetition.
fn llama_batched_bench(task: &ForeignTask, model: &str) -> Result<Vec<String>, String> {
    let case = &task.case;
    if task.part == TimedPart::Prefill && case.n_depth > 0 {
        return Err(
            "llama-batched-bench times its prompt from an empty cache: leave out --n-depth"
                .to_owned(),
        );
    }
    let n_gen = match task.part {
        // It needs a decode step to print anything.
        TimedPart::Prefill => 1,
        TimedPart::Decode => case.n_gen,
    };
    let times = usize::try_from(task.repetitions).unwrap_or(1);
    let n_seq = vec![case.n_seq.to_string(); times].join(",");
    let mut args = Flags::of_model(model);
    args.add("-npp", case.n_depth.saturating_add(case.n_prompt))
        .add("-ntg", n_gen)
        .add("-npl", n_seq)
        .add("-c", case.n_ctx_total());
    args.engine(case)?;
    if case.kv_unified {
        args.0.push("-kvu".to_owned());
    }
    if case.swa_full {
        args.0.push("--swa-full".to_owned());
    }
    if case.flash_attn != FlashAttn::Auto {
        args.add("-fa", case.flash_attn);
    }
    args.add("--output-format", "jsonl");
    Ok(args.0)
}

/// Another build of this program is asked by its own flags; its record has every call.
fn ggufbench(task: &ForeignTask, model: &str, scratch: &Path) -> Result<Vec<String>, String> {
    let usual = Case::usual(&task.case.model);
    let mut args = Flags(vec!["run".to_owned()]);
    args.add("--model", model);
    for axis in AXES {
        // Its default depends on what that build finds, so that it is always named.
        let is_apart = axis.words.field == "n_gpu_layers";
        if is_apart || axis.value(&task.case) == axis.value(&usual) {
            continue;
        }
        let flag = format!("--{}", axis.flag());
        match axis.words.is_flag_of_off {
            true => args.0.push(flag),
            false => {
                args.add(&flag, axis.value(&task.case));
            }
        }
    }
    args.add("--n-gpu-layers", task.case.n_gpu_layers);
    let out = scratch
        .to_str()
        .ok_or("the temporary folder's path is not UTF-8")?;
    args.add("--replicates", 1)
        .add("--repetitions", task.repetitions)
        .add("--out", out);
    args.0.push("--no-report".to_owned());
    Ok(args.0)
}

struct Flags(Vec<String>);

impl Flags {
    fn of_model(model: &str) -> Self {
        Self(vec!["-m".to_owned(), model.to_owned()])
    }

    fn add(&mut self, flag: &str, value: impl ToString) -> &mut Self {
        self.0.extend([flag.to_owned(), value.to_string()]);
        self
    }

    /// What both of llama.cpp's benchmarks call alike.
    fn engine(&mut self, case: &Case) -> Result<(), String> {
        let usual = Case::usual(&case.model);
        if (&case.rpc, &case.device, &case.tensor_split)
            != (&usual.rpc, &usual.device, &usual.tensor_split)
        {
            return Err(
                "--rpc, --device and --tensor-split are not passed on to another program: put them into a script that \
                 starts it"
                    .to_owned(),
            );
        }
        self.add("-t", case.n_threads)
            .add("-ngl", case.n_gpu_layers)
            .add("-b", case.n_batch)
            .add("-ub", case.n_ubatch);
        for (flag, kv_type) in [("-ctk", case.type_k), ("-ctv", case.type_v)] {
            if kv_type != KvType::F16 {
                self.add(flag, kv_type);
            }
        }
        if case.split_mode != SplitMode::Layer {
            self.add("-sm", case.split_mode);
        }
        if case.main_gpu != 0 {
            self.add("-mg", case.main_gpu);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn task(change: impl FnOnce(&mut Case), part: TimedPart) -> ForeignTask {
        let mut case = Case {
            n_threads: 2,
            ..Case::usual("m")
        };
        change(&mut case);
        ForeignTask {
            case,
            model: PathBuf::from("/models/m.gguf"),
            part,
            repetitions: 3,
        }
    }

    fn line(kind: ForeignKind, task: &ForeignTask) -> String {
        match of(kind, task, Path::new("/tmp/s")) {
            Ok(args) => args.join(" "),
            Err(reason) => reason,
        }
    }

    #[test]
    fn llama_bench_gets_the_prompt_as_depth_of_its_decode_test() {
        let decode = task(|c| c.n_depth = 8, TimedPart::Decode);
        assert_eq!(
            line(ForeignKind::LlamaBench, &decode),
            "-m /models/m.gguf -p 0 -n 64 -d 136 -t 2 -ngl 0 -b 2048 -ub 512 -r 3 -o jsonl"
        );
        let prefill = task(|c| c.flash_attn = FlashAttn::Off, TimedPart::Prefill);
        assert_eq!(
            line(ForeignKind::LlamaBench, &prefill),
            "-m /models/m.gguf -p 128 -n 0 -t 2 -ngl 0 -b 2048 -ub 512 -fa 0 -r 3 -o jsonl"
        );
        let several = task(|c| c.n_seq = 8, TimedPart::Decode);
        assert!(line(ForeignKind::LlamaBench, &several).contains("name the llama-batched-bench"));
    }

    #[test]
    fn llama_batched_bench_repeats_the_number_of_sequences() {
        let cell = |c: &mut Case| {
            (c.n_seq, c.n_prompt, c.n_gen) = (8, 16, 32);
            c.type_k = KvType::Q8_0;
        };
        assert_eq!(
            line(
                ForeignKind::LlamaBatchedBench,
                &task(cell, TimedPart::Decode)
            ),
            "-m /models/m.gguf -npp 16 -ntg 32 -npl 8,8,8 -c 16384 -t 2 -ngl 0 -b 2048 -ub 512 -ctk q8_0 --output-format jsonl"
        );
    }

    #[test]
    fn this_program_gets_its_own_flags() {
        let cell = |c: &mut Case| (c.n_seq, c.sample) = (4, false);
        assert_eq!(
            line(ForeignKind::Ggufbench, &task(cell, TimedPart::Decode)),
            "run --model /models/m.gguf --batch 4 --threads 2 --no-sample --n-gpu-layers 0 --replicates 1 --repetitions 3 \
             --out /tmp/s --no-report"
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let none = task(|c| c.n_gen = 0, TimedPart::Decode);
        assert!(line(ForeignKind::LlamaBench, &none).contains("say --n-gen"));
        let none = task(|c| c.n_prompt = 0, TimedPart::Prefill);
        assert!(line(ForeignKind::LlamaBatchedBench, &none).contains("say --n-prompt"));
        let deep = task(|c| c.n_depth = 8, TimedPart::Prefill);
        assert!(line(ForeignKind::LlamaBatchedBench, &deep).contains("leave out --n-depth"));
        let split = task(
            |c| c.tensor_split = "3,1".parse().expect("shares"),
            TimedPart::Decode,
        );
        assert!(line(ForeignKind::LlamaBench, &split).contains("a script"));
    }
}
