# The targets of this project; `make` alone prints them.

# Checks for the compilers first and installs missing ones; `make bench SETUP=no` skips this.
SETUP := yes
# CUDA=1 builds for NVIDIA GPUs.
CUDA :=
# A checkout of llama.cpp instead of that of the crate: LLAMA_CPP=../llama.cpp, or LLAMA_CPP=../llama.cpp@b11401 (docs/LLAMA_CPP.md).
LLAMA_CPP :=
# Plug-ins that `make portable` and `make package` put beside the program: PLUGINS=target/cuda-plugin/libggml-cuda.so.
PLUGINS :=
# Further flags for the sweep of `make bench`: ARGS="--budget 1m --batch 1,4".
ARGS :=

# The recipe determines the PATH, because the line above may have installed cargo.
CARGO := PATH="$$(scripts/setup.sh --path)" cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
GGUFBENCH := $(or $(CARGO_TARGET_DIR),target)/release/ggufbench
MODELS := smollm2-135m-f16 smollm2-135m-q8_0 smollm2-135m-q4_0
SYNTHETIC := synth:smollm2-135m:q4_0,synth:smollm2-135m:q8_0,synth:smollm2-135m:f16

# Compiles this program's own code without optimisation. The engine is optimised as usual.
UNOPTIMISED := --config profile.release.package.ggufbench.opt-level=0 --config profile.release.opt-level=1 --config profile.release.debug=false

with_cuda := $(filter-out 0 no,$(CUDA))
names_a_model := $(filter -m -m=% --model --model=%,$(ARGS))

.DEFAULT_GOAL := help
.PHONY: help setup build portable package windows bench test simulate test-offload check-cuda clean-out

help: ## Print this list
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
	@echo 'make bench CUDA=1 ARGS="--budget 1m": for NVIDIA GPUs, with further flags for the sweep'

setup: ## Install missing build tools, or print how to install them
ifneq ($(SETUP),no)
	@scripts/setup.sh $(if $(with_cuda),--cuda) $(if $(filter test,$(MAKECMDGOALS)),--dev) $(if $(filter test-offload,$(MAKECMDGOALS)),--offload) $(if $(filter windows,$(MAKECMDGOALS)),--windows)
endif

build: setup ## Build target/release/ggufbench; LLAMA_CPP=DIR against your own llama.cpp
ifeq ($(LLAMA_CPP),)
	$(CARGO) build --release $(if $(with_cuda),--features cuda)
else
	@program=$$(scripts/llama-build.sh '$(patsubst ~/%,$(HOME)/%,$(LLAMA_CPP))' $(if $(with_cuda),-- --features cuda)) && \
	mkdir -p $(dir $(GGUFBENCH)) && cp "$$program" $(GGUFBENCH).new && mv -f $(GGUFBENCH).new $(GGUFBENCH) && $(GGUFBENCH) --version
endif

portable: setup ## Build a folder and a tar.gz that run on any x86-64 Linux (docs/GPU.md)
	scripts/portable.sh $(PLUGINS)

package: setup ## Build a tar.gz, a Python wheel and a Containerfile, which install without a compiler (docs/INSTALL.md)
	scripts/package.sh $(PLUGINS)

windows: setup ## Build a zip for Windows, on Linux (docs/INSTALL.md)
	scripts/windows.sh

bench: build ## Build, fetch a small real model, measure this machine
ifneq ($(names_a_model),)
	$(GGUFBENCH) sweep sweeps/quick.toml $(ARGS)
else
	@$(GGUFBENCH) model fetch $(MODELS); code=$$?; \
	if [ $$code -eq 0 ]; then \
	    model=; \
	elif [ $$code -ge 128 ]; then \
	    exit $$code; \
	else \
	    echo 'make bench: the real model could not be fetched (the reason is above).'; \
	    echo 'make bench: measuring random weights of the same shape instead: the speed is the same, but the text has no meaning.'; \
	    model='--model $(SYNTHETIC)'; \
	fi; \
	exec $(GGUFBENCH) sweep sweeps/quick.toml $$model $(ARGS)
endif

# All builds use the release profile, because another profile would compile llama.cpp once more.
test: setup ## Run what CI runs: formatting, lints, documentation, tests
	@if $(CARGO) fmt --version >/dev/null 2>&1; then echo cargo fmt --check; $(CARGO) fmt --check; \
	else echo 'SKIPPED: formatting: this Rust has no rustfmt'; fi
	@if $(CARGO) clippy --version >/dev/null 2>&1; then echo cargo clippy; $(CARGO) clippy --release --all-targets -- -D warnings; \
	else echo 'SKIPPED: lints: this Rust has no clippy'; fi
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --no-deps
	$(CARGO) test --release --no-fail-fast

# Optimised: they draw some million samples.
simulate: setup ## Check the simulated tables of docs/METHODOLOGY.md and stats::interval: coverage of the intervals, errors of the rules for pairs
	$(CARGO) test --release --lib stats::coverage -- --ignored --skip coverage_table
	$(CARGO) test --release --lib -- --ignored --exact stats::sequential::simulation::pair_table_holds_what_it_promises stats::equivalence::simulation::equality_table_holds_what_it_promises

# The plug-in is in a separate folder, so that --backends is tested too. The program is built without optimisation, because it is not timed.
test-offload: setup ## Test offload without a GPU, on Mesa's lavapipe, a Vulkan driver that computes on the CPU
	scripts/vulkan-plugin.sh
	CARGO_TARGET_DIR="$(TARGET)/offload" PORTABLE_CARGO_FLAGS="$(UNOPTIMISED)" scripts/portable.sh
	GGUFBENCH_PORTABLE="$$(ls -td "$(TARGET)"/offload/portable/ggufbench-*-x86_64-linux | head -n 1)" GGUFBENCH_BACKENDS="$(TARGET)/vulkan-plugin" \
	    $(CARGO) test --release --test offload_vulkan -- --ignored

check-cuda: setup ## Check that the code compiles with the CUDA feature, without CUDA
	PATH="$$(scripts/setup.sh --path)" scripts/check-cuda.sh

clean-out: ## Delete the records of all runs and all nights (out/)
	rm -rf out
